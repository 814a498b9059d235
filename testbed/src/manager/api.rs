//! The HTTP interface of the node manager.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, put};
use axum::{Json, Router};

use super::fleet::{Fleet, Refusal};
use crate::nodes::{NewFault, NewNode, Node, Problem, TYPES, ZONES, Zone};

/// The routes, with no node yet.
pub(super) fn router() -> Router {
    Router::new()
        .route("/types", get(types))
        .route("/zones", get(zones))
        .route("/zones/{zone}", put(set_fault))
        .route("/nodes", get(nodes).post(launch))
        .route("/nodes/{name}", get(node).delete(remove))
        .with_state(Arc::default())
}

async fn types() -> Json<Vec<serde_json::Value>> {
    Json(TYPES.map(crate::nodes::InstanceType::to_json).into())
}

async fn zones(State(fleet): State<Arc<Fleet>>) -> Json<Vec<Zone>> {
    Json(fleet.zones())
}

async fn set_fault(
    State(fleet): State<Arc<Fleet>>,
    Path(zone): Path<String>,
    Json(NewFault { fault }): Json<NewFault>,
) -> Result<Json<Zone>, Refusal> {
    fleet.set_fault(&zone, fault).await.map(Json)
}

async fn nodes(State(fleet): State<Arc<Fleet>>) -> Json<Vec<Node>> {
    Json(fleet.nodes())
}

async fn launch(
    State(fleet): State<Arc<Fleet>>,
    Json(request): Json<NewNode>,
) -> Result<(StatusCode, Json<Node>), Refusal> {
    let launched = tokio::task::spawn_blocking(move || fleet.launch(request)).await;
    let node = launched.map_err(|error| Refusal::Failed(error.into()))??;
    Ok((StatusCode::CREATED, Json(node)))
}

async fn node(State(fleet): State<Arc<Fleet>>, Path(name): Path<String>) -> Result<Json<Node>, Refusal> {
    fleet.node(&name).map(Json)
}

async fn remove(State(fleet): State<Arc<Fleet>>, Path(name): Path<String>) -> Result<Json<Node>, Refusal> {
    fleet.remove(&name).await.map(Json)
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let (status, message) = match self {
            Self::Invalid(error) => (StatusCode::BAD_REQUEST, format!("{error:#}")),
            Self::Exists => (StatusCode::CONFLICT, "a node of this name exists".to_owned()),
            Self::NoNode => (StatusCode::NOT_FOUND, "no such node".to_owned()),
            Self::NoZone => (
                StatusCode::NOT_FOUND,
                format!("no such zone: the zones are {}", ZONES.join(", ")),
            ),
            Self::NoCapacity(message) => (StatusCode::SERVICE_UNAVAILABLE, message),
            Self::Failed(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error:#}")),
        };
        (status, Json(Problem { message })).into_response()
    }
}
