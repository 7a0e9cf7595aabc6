//! What processes count, asked of them.

use std::net::SocketAddr;

use crate::testkit::http::try_ask;
use crate::testkit::metrics;

/// The sum of all samples of `name` at `admin` whose labels include each of `labels`, written as
/// `name="value"`. 0 if there is none yet, or nobody answers: a dead node counts nothing.
pub(crate) async fn sum(admin: SocketAddr, name: &str, labels: &[&str]) -> f64 {
    let Ok(answer) = try_ask(admin, "GET", "/metrics").await else {
        return 0.0;
    };
    assert_eq!(answer.status, 200, "{answer:?}");
    metrics::sum(&answer.text(), name, labels)
}
