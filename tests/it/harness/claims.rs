//! Several claims about one cluster, held against it one after the other: starting a cluster takes more than most of
//! them. Each claim has keys or a group of its own. One that fails is named, and the others are looked at all the same.

use std::panic::AssertUnwindSafe;

use futures_util::FutureExt;

/// Those that have failed so far.
#[derive(Default)]
pub(crate) struct Claims {
    failed: Vec<&'static str>,
}

impl Claims {
    /// Looks at one, which panics if it fails.
    pub(crate) async fn hold(&mut self, name: &'static str, claim: impl Future<Output = ()>) {
        if AssertUnwindSafe(claim).catch_unwind().await.is_err() {
            self.failed.push(name);
        }
    }

    /// Panics with the names of those that failed.
    pub(crate) fn end(self) {
        let failed = self.failed;
        assert!(failed.is_empty(), "these do not hold: {failed:#?}");
    }
}

/// Holds claims, which are async functions, against a cluster: `claims!(cluster: one, other)`.
macro_rules! claims {
    ($cluster:expr; $($claim:path),+ $(,)?) => {{
        let cluster = $cluster;
        let mut claims = $crate::harness::claims::Claims::default();
        $(claims.hold(stringify!($claim), $claim(&cluster)).await;)+
        claims.end();
    }};
}

pub(crate) use claims;
