"""`orchestrator/`: how a project plans, and how well its estimates did."""

from api.http import Resource, web, workspace
from api.schemas.orchestrator import CalibrationQuery, CalibrationResponse, OrchestratorConfigResponse
from orchestrator.config import OrchestratorConfig

orchestrator = Resource("orchestrator")


@orchestrator.on("GET", "/orchestrator/config/", answers=OrchestratorConfigResponse)
def get_orchestrator_config() -> OrchestratorConfigResponse:
    """Read how messages without a target are planned; the defaults, with version 0, if nothing was set."""
    return OrchestratorConfigResponse.of(web().team.view(workspace().key))


@orchestrator.on("PUT", "/orchestrator/config/", answers=OrchestratorConfigResponse)
def replace_orchestrator_config(json: OrchestratorConfig) -> OrchestratorConfigResponse:
    """Replace how messages without a target are planned. It counts from the next one on."""
    return OrchestratorConfigResponse.of(web().team.replace(workspace().key, json))


@orchestrator.on("GET", "/orchestrator/calibration/", answers=CalibrationResponse)
def get_calibration(query: CalibrationQuery) -> CalibrationResponse:
    """Read how well the estimates of tasks and plans did."""
    return CalibrationResponse.of(web().calibrations.of(workspace().key, query.runs))
