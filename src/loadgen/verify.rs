//! After a run: is what was served what the origin has?

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use serde::Serialize;
use tokio::time::timeout;

use super::keys::Keys;
use super::ledger::{Ledger, Seen};
use crate::cache::{LoadError, LoadErrorKind};
use crate::origin::{Origin, Row};
use crate::topology::model::group::Group;

/// Keys of one call to the origin.
const BATCH_KEYS: usize = 500;

/// Calls at once: the database may be in use.
const CALLS: usize = 4;

/// How long one call may take.
const CALL_TIMEOUT: Duration = Duration::from_secs(30);

/// After so many calls that failed the origin is not asked again: each may have taken its time.
const MAX_FAILED_CALLS: usize = 8;

/// Differences that are shown one by one.
const SHOWN: usize = 10;

/// The longest part of a key that is shown.
const SHOWN_KEY_CHARACTERS: usize = 64;

/// Where the truth is.
#[derive(Clone, Debug)]
pub struct Truth {
    /// The origin of the group.
    pub origin: Arc<dyn Origin>,
    /// The group that the run asks for.
    pub group: Group,
}

/// What the comparison came to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Verification {
    /// Keys whose last reply was compared with the origin's row.
    pub keys_compared: u64,
    /// Keys whose reply was something else.
    pub keys_different: u64,
    /// Keys that were answered in different ways during the run; no difference by itself.
    pub keys_changed: u64,
    /// Keys for which the origin gave no answer.
    pub keys_failed: u64,
    /// The first of the differences.
    pub differences: Vec<Difference>,
    /// Why the first of the failed keys failed.
    pub failure: Option<String>,
}

/// A key that was answered with something else than the origin has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// The key, shortened.
    pub key: String,
    /// The length of the last body; none if there was none.
    pub served_bytes: Option<u64>,
    /// The length of the value; none if the origin has no such key.
    pub origin_bytes: Option<u64>,
}

impl Verification {
    /// Whether something was compared, all of it, and all was the same.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.keys_compared > 0 && self.keys_different == 0 && self.keys_failed == 0
    }

    fn compare(&mut self, key: &Bytes, seen: Seen, row: Row) {
        let value = match row {
            Ok(value) => value,
            Err(error) => return self.fail(1, &error),
        };
        self.keys_compared += 1;
        if Seen::of(value.as_deref()) == seen {
            return;
        }
        self.keys_different += 1;
        if self.differences.len() < SHOWN {
            let key = String::from_utf8_lossy(key);
            self.differences.push(Difference {
                key: key.chars().take(SHOWN_KEY_CHARACTERS).collect(),
                served_bytes: match seen {
                    Seen::Absent => None,
                    Seen::Body { length, .. } => Some(length.into()),
                },
                origin_bytes: value.map(|value| value.len() as u64),
            });
        }
    }

    fn fail(&mut self, keys: u64, error: &LoadError) {
        self.keys_failed += keys;
        self.failure.get_or_insert_with(|| error.to_string());
    }
}

/// Loads every key that was seen, and compares. Fewer requests than keys cost only what was seen.
pub(super) async fn verify(truth: &Truth, ledger: &Ledger, keys: &Keys) -> Verification {
    let mut found = Verification {
        keys_changed: ledger.changed(),
        ..Verification::default()
    };
    let mut seen = ledger.seen();
    let batches = std::iter::from_fn(|| {
        let batch: Vec<_> = seen.by_ref().take(BATCH_KEYS).collect();
        (!batch.is_empty()).then_some(batch)
    });
    let calls = batches.map(async |batch| {
        let names: Vec<_> = batch.iter().map(|(index, _)| keys.key(*index)).collect();
        let rows = load(truth, &names).await;
        (batch, names, rows)
    });
    let mut calls = stream::iter(calls).buffered(CALLS);
    let mut failed_calls = 0;
    while let Some((batch, names, rows)) = calls.next().await {
        match rows {
            Ok(rows) => {
                for ((name, (_, seen)), row) in names.iter().zip(batch).zip(rows) {
                    found.compare(name, seen, row);
                }
            }
            Err(error) => {
                found.fail(names.len() as u64, &error);
                failed_calls += 1;
            }
        }
        if failed_calls == MAX_FAILED_CALLS {
            let asked = found.keys_compared + found.keys_failed;
            found.keys_failed += ledger.seen().count() as u64 - asked;
            break;
        }
    }
    found
}

async fn load(truth: &Truth, names: &[Bytes]) -> Result<Vec<Row>, LoadError> {
    let rows = timeout(CALL_TIMEOUT, truth.origin.load(&truth.group, names))
        .await
        .unwrap_or_else(|_| {
            let message = format!("no answer within {CALL_TIMEOUT:?}");
            Err(LoadError::new(LoadErrorKind::Timeout, message))
        })?;
    if rows.len() != names.len() {
        let message = format!("{} rows for {} keys", rows.len(), names.len());
        return Err(LoadError::new(LoadErrorKind::Internal, message));
    }
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use super::super::connection::Reply;
    use super::super::plan::tests::options;
    use super::super::plan::{Options, Plan};
    use super::*;
    use crate::config::{SourceFile, read_groups};
    use crate::ids::{Epoch, Generation, GroupId};
    use crate::origin::embedded;
    use crate::origin::memory::Faults;

    fn truth(rows: &str, faults: Faults) -> Truth {
        let text = "[groups.t]\ntable='t'\nkey_column='k'\nvalue_column='v'\nttl='1m'\n";
        let file = SourceFile { name: "g", text };
        let (name, spec) = read_groups(file).unwrap().remove(0);
        Truth {
            origin: embedded("t", rows, faults).unwrap(),
            group: Group {
                id: GroupId(1),
                name: name.into(),
                generation: Generation(1),
                copies_since: Epoch(0),
                spec,
            },
        }
    }

    fn keys(count: u64) -> Keys {
        let options = Options {
            keys: count,
            key_format: "k{}".into(),
            ..options()
        };
        Keys::new(&Plan::new(options).unwrap())
    }

    fn note(ledger: &Ledger, index: u64, body: Option<&[u8]>) {
        let reply = Reply {
            status: if body.is_some() { 200 } else { 404 },
            cache_status: None,
            body_bytes: body.map_or(0, |body| body.len() as u64),
            body_hash: body.map_or(0, xxhash_rust::xxh3::xxh3_64),
        };
        ledger.note(index, &reply);
    }

    #[tokio::test]
    async fn every_seen_key_is_compared_and_differences_are_reported_by_length() {
        let count = 3 * BATCH_KEYS as u64;
        let rows: String = (1..=count)
            .map(|index| format!("k{index},v{index}\n"))
            .collect();
        let truth = truth(&format!("k,v\n{rows}"), Faults::default());
        let (keys, ledger) = (keys(count + 2), Ledger::new(count + 2));
        for index in 2..=count {
            note(&ledger, index, Some(format!("v{index}").as_bytes()));
        }
        note(&ledger, count + 1, None);
        let found = verify(&truth, &ledger, &keys).await;
        assert!(found.is_clean(), "{found:?}");
        assert_eq!(found.keys_compared, count);

        note(&ledger, 700, Some(b"else"));
        note(&ledger, 701, None);
        note(&ledger, count + 1, Some(b""));
        let found = verify(&truth, &ledger, &keys).await;
        assert!(!found.is_clean());
        assert_eq!((found.keys_different, found.keys_changed), (3, 3));
        let differences = found.differences.iter();
        let lengths: Vec<_> = differences
            .map(|d| (d.key.as_str(), d.served_bytes, d.origin_bytes))
            .collect();
        let last = format!("k{}", count + 1);
        let expected = [
            ("k700", Some(4), Some(4)),
            ("k701", None, Some(4)),
            (last.as_str(), Some(0), None),
        ];
        assert_eq!(lengths, expected);
    }

    #[tokio::test]
    async fn an_origin_that_does_not_answer_is_no_clean_verification() {
        let faults = Faults {
            failure_ratio: 1.0,
            ..Faults::default()
        };
        let (keys, ledger) = (keys(2), Ledger::new(2));
        note(&ledger, 1, Some(b"v"));
        let found = verify(&truth("k,v\nk1,v\n", faults), &ledger, &keys).await;
        assert_eq!((found.keys_compared, found.keys_failed), (0, 1));
        assert!(found.failure.is_some() && !found.is_clean());
        assert!(!Verification::default().is_clean(), "nothing was compared");
    }

    #[tokio::test(start_paused = true)]
    async fn an_origin_that_hangs_is_given_up_and_not_asked_for_all_keys() {
        let faults = Faults {
            hang_ratio: 1.0,
            ..Faults::default()
        };
        let count = 40 * BATCH_KEYS as u64;
        let (keys, ledger) = (keys(count), Ledger::new(count));
        for index in 1..=count {
            note(&ledger, index, Some(b"v"));
        }
        let began = tokio::time::Instant::now();
        let found = verify(&truth("k,v\nk1,v\n", faults), &ledger, &keys).await;
        assert_eq!(found.keys_failed, count, "{found:?}");
        let rounds = u32::try_from(MAX_FAILED_CALLS).unwrap();
        assert!(
            began.elapsed() <= CALL_TIMEOUT * rounds,
            "{:?}",
            began.elapsed()
        );
    }
}
