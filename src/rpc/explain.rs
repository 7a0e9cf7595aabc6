//! The client of a node's explanations: what it holds for a key. For operators' commands.

use std::time::Duration;

use super::connect::Target;
use super::control::{Unanswered, over};
use super::proto::cache_client::CacheClient;
use super::proto::{ExplainReply, ExplainRequest};

/// Asks the node at `target` what it knows of a key, connected and answered within `patience` each. It loads
/// nothing and leaves the entry as it was. Cancel-safe.
///
/// # Errors
/// It does not answer.
pub async fn explain(
    target: &Target,
    request: ExplainRequest,
    patience: Duration,
) -> Result<ExplainReply, Unanswered> {
    over(target, patience, async move |channel| {
        CacheClient::new(channel).explain(request).await
    })
    .await
}
