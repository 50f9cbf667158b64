"""Names that no checkpoint needs and every attack does.

The reader is safe without this list: it imports and calls nothing, whatever the name. The list only lets it say that a
file is an attack instead of quietly reading past it.
"""

from __future__ import annotations

from faceloom.checkpoints.inert import Global
from faceloom.errors import CheckpointError

_MODULES = frozenset(
    {
        "os",
        "posix",
        "nt",
        "posixpath",
        "ntpath",
        "subprocess",
        "sys",
        "importlib",
        "imp",
        "runpy",
        "ctypes",
        "socket",
        "ssl",
        "shutil",
        "pty",
        "commands",
        "popen2",
        "code",
        "codeop",
        "pdb",
        "bdb",
        "timeit",
        "cProfile",
        "profile",
        "trace",
        "doctest",
        "unittest",
        "webbrowser",
        "asyncio",
        "multiprocessing",
        "_posixsubprocess",
        "threading",
        "_thread",
        "signal",
        "pickle",
        "_pickle",
        "cPickle",
        "pickletools",
        "marshal",
        "shelve",
        "dill",
        "cloudpickle",
        "joblib",
        "operator",
        "_operator",
        "inspect",
        "site",
        "pip",
        "ensurepip",
        "venv",
        "zipimport",
        "zipfile",
        "tarfile",
        "pkgutil",
        "pydoc",
        "urllib",
        "urllib2",
        "requests",
        "httpx",
        "http",
        "aiohttp",
        "ftplib",
        "smtplib",
        "telnetlib",
        "xmlrpc",
        "tempfile",
        "fileinput",
        "linecache",
        "idlelib",
        "distutils",
        "setuptools",
        "sqlite3",
        "atexit",
        "faulthandler",
        "mmap",
        "fcntl",
        "readline",
        "rlcompleter",
        "cmd",
        "bz2",
        "gzip",
        "lzma",
        "winreg",
        "_winapi",
        "msvcrt",
        "antigravity",
        "faceloom",
    }
)
_NAMES = frozenset(
    {
        "functools.reduce",
        "io.open",
        "io.open_code",
        "io.FileIO",
        "_io.open",
        "_io.open_code",
        "_io.FileIO",
        "itertools.starmap",
        "types.CodeType",
        "types.FunctionType",
        "types.LambdaType",
        "types.MethodType",
        "types.ModuleType",
        "torch.load",
        "torch.save",
        "torch.serialization.load",
        "torch.compile",
        "numpy.load",
        "numpy.loads",
        "numpy.save",
        "numpy.memmap",
        "numpy.fromfile",
        "numpy.genfromtxt",
    }
)
_PACKAGES = (
    "torch.hub.",
    "torch.jit.",
    "torch.utils.cpp_extension.",
    "torch.utils.data.datapipes.",
    "torch._dynamo.",
    "torch._inductor.",
    "torch.package.",
    "torch.distributed.rpc.",
    "logging.config.",
    "torch.multiprocessing.",
    "numpy.f2py.",
    "numpy.distutils.",
    "numpy.testing.",
)
_HARMLESS_BUILTINS = frozenset(
    {
        "bool",
        "bytearray",
        "bytes",
        "complex",
        "dict",
        "float",
        "frozenset",
        "int",
        "list",
        "long",
        "object",
        "range",
        "set",
        "slice",
        "str",
        "tuple",
        "unicode",
        "Ellipsis",
        "NotImplemented",
    }
)
_RENAMED = {"__builtin__": "builtins", "copy_reg": "copyreg"}


def safe_global(module: str, name: str) -> Global:
    """A name out of a pickle, in the spelling of Python 3, NumPy 1 and NVIDIA's repositories.

    Raises:
        CheckpointError: if it is one that only an attack would name.
    """
    module = _RENAMED.get(module, module)
    if module == "numpy._core" or module.startswith("numpy._core."):
        module = "numpy.core" + module.removeprefix("numpy._core")
    if name == "EasyDict":  # every project has its own copy, somewhere else
        module = "dnnlib"
    if module.endswith("torch_utils.persistence"):
        module = "torch_utils.persistence"
    found = Global(module, name)
    dotted = f"{module}.{name}"
    hidden = module != "copyreg" and any(part.startswith("__") for part in name.split("."))
    builtin = module == "builtins" and name not in _HARMLESS_BUILTINS
    listed = module.partition(".")[0] in _MODULES or dotted in _NAMES or dotted.startswith(_PACKAGES)
    if builtin or listed or hidden:
        raise CheckpointError(f"it asks to run {found}, which no checkpoint needs: an attack, do not open it elsewhere")
    return found
