//! The ceiling of the HTTP comparison: what axum serves when there is nothing to look up.

use std::net::SocketAddr;

use anyhow::Context;
use axum::Router;
use axum::routing::get;

use crate::workload::{key, value};

/// Answers a value of the usual size to every request, until the process ends.
pub(crate) async fn serve(listen: SocketAddr) -> anyhow::Result<()> {
    let listener = gcache::net::listen(listen, "the ceiling", 4096)?;
    let constant: &'static str = Box::leak(value(&key(0)).into_boxed_str());
    let app = Router::new().route("/v1/rows/{key}", get(async move || constant));
    axum::serve(listener, app)
        .await
        .context("serving does not end")
}
