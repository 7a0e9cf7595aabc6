//! Three nodes that are started at the same moment, and a fourth.

use std::time::Duration;

use tempfile::TempDir;
use tokio::time::Instant;

use super::cluster::Cluster;
use super::row;

/// How long it takes to become one cluster, and for a fourth to own its share.
pub(crate) fn measure(
    starts: usize,
    folder: impl Fn() -> anyhow::Result<TempDir>,
) -> anyhow::Result<String> {
    let (mut formed, mut joined) = (Vec::<Duration>::new(), Vec::<Duration>::new());
    for _ in 0..starts {
        let folder = folder()?;
        let mut cluster = Cluster::new(folder.path(), 4);
        let began = Instant::now();
        for node in 0..3 {
            cluster.run(node);
        }
        cluster.complete(3)?;
        formed.push(began.elapsed());
        let began = Instant::now();
        cluster.run(3);
        cluster.complete(4)?;
        joined.push(began.elapsed());
    }
    Ok(row(
        "three nodes at once: one cluster, three voters, all shared out",
        &formed,
        "max ≤ 5",
    ) + &row("a fourth owns its share", &joined, "max ≤ 10"))
}
