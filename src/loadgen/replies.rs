//! How a reply came about, as its `Cache-Status` says. Pure.
//!
//! Reads what `frontend/respond` writes: `gcache; hit; ttl=59`, `gcache; fwd=miss; ttl=59; stored;
//! collapsed; detail=standby`. What it does not know it passes over.

use serde::Serialize;

/// Replies by how they came about. The first five add up to all replies; the others say more of some.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Replies {
    /// From the cache, fresh.
    pub hit: u64,
    /// From the cache, past its time, while it was refreshed.
    pub stale: u64,
    /// Loaded: there was no entry.
    pub miss: u64,
    /// Loaded, or the load failed: the entry was too old.
    pub expired: u64,
    /// Without `Cache-Status`, as refusals are.
    pub untold: u64,
    /// Kept for the next caller.
    pub stored: u64,
    /// Shared a load that another caller had begun.
    pub collapsed: u64,
    /// Answered by the owner's standby.
    pub standby: u64,
    /// Answered by a third node.
    pub last_resort: u64,
    /// An older value, because the origin failed.
    pub stale_if_error: u64,
}

impl Replies {
    /// Counts a reply by its `Cache-Status`.
    pub(super) fn count(&mut self, header: Option<&[u8]>) {
        let (mut is_hit, mut is_miss, mut is_expired, mut is_past) = (false, false, false, false);
        let parts = header.unwrap_or_default().split(|byte| *byte == b';');
        for part in parts.map(<[u8]>::trim_ascii) {
            match part {
                b"hit" => is_hit = true,
                b"fwd=miss" => is_miss = true,
                b"fwd=stale" => is_expired = true,
                b"stored" => self.stored += 1,
                b"collapsed" => self.collapsed += 1,
                b"detail=standby" => self.standby += 1,
                b"detail=last-resort" => self.last_resort += 1,
                b"detail=stale-if-error" => self.stale_if_error += 1,
                _ => is_past |= part.starts_with(b"ttl=-"),
            }
        }
        let place = match (is_hit, is_miss, is_expired) {
            (true, _, _) if is_past => &mut self.stale,
            (true, _, _) => &mut self.hit,
            (_, true, _) => &mut self.miss,
            (_, _, true) => &mut self.expired,
            _ => &mut self.untold,
        };
        *place += 1;
    }

    /// Adds what another has counted.
    pub(super) fn add(&mut self, other: &Self) {
        self.hit += other.hit;
        self.stale += other.stale;
        self.miss += other.miss;
        self.expired += other.expired;
        self.untold += other.untold;
        self.stored += other.stored;
        self.collapsed += other.collapsed;
        self.standby += other.standby;
        self.last_resort += other.last_resort;
        self.stale_if_error += other.stale_if_error;
    }

    /// The share of replies that did not wait for the origin; none without replies.
    pub(super) fn hit_ratio(&self) -> Option<f64> {
        let from_cache = self.hit + self.stale;
        let replies = from_cache + self.miss + self.expired + self.untold;
        (replies > 0).then(|| from_cache as f64 / replies as f64)
    }

    /// Returns what was counted, with the words of the report.
    pub(super) fn named(&self) -> [(&'static str, u64); 10] {
        [
            ("hit", self.hit),
            ("stale", self.stale),
            ("miss", self.miss),
            ("expired", self.expired),
            ("untold", self.untold),
            ("stored", self.stored),
            ("collapsed", self.collapsed),
            ("standby", self.standby),
            ("last-resort", self.last_resort),
            ("stale-if-error", self.stale_if_error),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_frontend_writes_is_counted() {
        for (header, expected) in [
            ("gcache; hit; ttl=59", &["hit"][..]),
            ("gcache; hit; ttl=-1", &["stale"]),
            ("gcache; fwd=miss; ttl=59; stored", &["miss", "stored"]),
            (
                "gcache; fwd=miss; ttl=59; stored; collapsed; detail=standby",
                &["miss", "stored", "collapsed", "standby"],
            ),
            ("gcache; fwd=stale; ttl=0", &["expired"]),
            (
                "gcache; fwd=stale; ttl=-3; detail=stale-if-error",
                &["expired", "stale-if-error"],
            ),
            (
                "gcache; hit; ttl=9; detail=last-resort",
                &["hit", "last-resort"],
            ),
            ("gcache; fwd=miss", &["miss"]),
            ("other", &["untold"]),
        ] {
            let mut replies = Replies::default();
            replies.count(Some(header.as_bytes()));
            let named = replies.named();
            let counted = named.iter().filter(|(_, count)| *count == 1);
            let counted: Vec<_> = counted.map(|(name, _)| *name).collect();
            assert_eq!(counted, expected, "{header}");
        }
    }

    #[test]
    fn the_hit_ratio_is_of_all_replies() {
        let mut replies = Replies::default();
        assert_eq!(replies.hit_ratio(), None);
        replies.count(None);
        replies.count(Some(b"gcache; hit; ttl=1"));
        replies.count(Some(b"gcache; hit; ttl=-1"));
        replies.count(Some(b"gcache; fwd=miss; ttl=1"));
        let mut twice = replies;
        twice.add(&replies);
        assert_eq!(twice.hit_ratio(), Some(0.5));
    }
}
