use axum::Router;

use super::Porch;

pub(super) fn routes(_porch: &Porch<'_>) -> Router {
    Router::new()
}
