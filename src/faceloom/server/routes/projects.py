"""Projects: a photo being edited, and its history."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.responses import Response

from faceloom.server.answers import PathId, StudioDep
from faceloom.server.schemas import Again, NewProject, NewStep, Project, ProjectBrief, ProjectChange, StepInfo, Tools

router = APIRouter(tags=["projects"])


@router.post("/api/projects", status_code=201)
def add_project(studio: StudioDep, body: NewProject) -> Project:
    """Begin to edit a photo; the answer does not wait for the inversion."""
    return studio.projects.add(body)


@router.get("/api/projects")
def list_projects(studio: StudioDep) -> list[ProjectBrief]:
    """All of them, the last changed first."""
    return studio.store.list_projects()


@router.get("/api/projects/{project_id}")
def get_project(studio: StudioDep, project_id: PathId) -> Project:
    """One of them, with its history."""
    return studio.store.get_project(project_id)


@router.get("/api/projects/{project_id}/tools")
def get_tools(studio: StudioDep, project_id: PathId) -> Tools:
    """What can be done in it: the directions, twins and presets of the model that it was begun with."""
    return studio.tools(project_id)


@router.patch("/api/projects/{project_id}")
def change_project(studio: StudioDep, project_id: PathId, body: ProjectChange) -> Project:
    """Rename it, or go to another step of its history (undo, redo, another branch)."""
    return studio.store.change_project(project_id, body)


@router.delete("/api/projects/{project_id}", status_code=204, response_class=Response)
def delete_project(studio: StudioDep, project_id: PathId) -> Response:
    """Remove it and its files for good; its photo too, if no other project has it."""
    studio.projects.delete(project_id)
    return Response(status_code=204)


@router.post("/api/projects/{project_id}/steps", status_code=201)
def add_step(studio: StudioDep, project_id: PathId, body: NewStep) -> StepInfo:
    """Add a step; it is on disk before the answer."""
    return studio.projects.add_step(project_id, body)


@router.post("/api/projects/{project_id}/invert", status_code=202)
def invert_project(studio: StudioDep, project_id: PathId, body: Again) -> Project:
    """Find the faces' codes anew; the history stays."""
    return studio.projects.invert_again(project_id, body.fidelity)


@router.post("/api/projects/{project_id}/cancel", status_code=202)
def cancel_project(studio: StudioDep, project_id: PathId) -> Project:
    """Stop its inversion after the step that is being done."""
    return studio.projects.cancel(project_id)
