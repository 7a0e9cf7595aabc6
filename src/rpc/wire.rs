//! Pipeline messages: many calls or answers with their bytes side by side in one buffer.
//!
//! Keys and values travel outside their records, so that a receiver slices them out of the frame
//! without copying and a sender copies each just once.

use bytes::{Bytes, BytesMut};

use super::outbox::{Ahead, Frame};
use super::proto::{Answer, Call, PipelineReply, PipelineRequest};
use crate::cache::Entry;

/// What a record adds to a message beside its key, value and text.
const RECORD_BYTES: usize = 32;

/// A call and its key, waiting to be sent.
#[derive(Debug)]
pub struct CallItem {
    /// The record; `key_bytes` is filled in on sending.
    pub call: Call,
    /// The key.
    pub key: Bytes,
}

/// An answer and its value, waiting to be sent.
#[derive(Debug)]
pub struct AnswerItem {
    /// The record; `value_bytes` is filled in on sending.
    pub answer: Answer,
    /// Where the value is, if the answer has one.
    pub value: Option<Entry>,
}

/// An answer and its value, as received.
#[derive(Clone, Debug)]
pub struct Reply {
    /// The record.
    pub answer: Answer,
    /// The value: a slice of the frame it came in.
    pub value: Bytes,
}

/// A message whose records do not add up to its bytes.
#[derive(Debug, thiserror::Error)]
#[error("malformed message: its records claim {claimed} bytes, it has {present}")]
pub struct Malformed {
    claimed: usize,
    present: usize,
}

impl Frame for PipelineRequest {
    type Item = CallItem;

    fn weight(item: &CallItem) -> usize {
        RECORD_BYTES + item.key.len()
    }

    fn assemble(ahead: Ahead, items: Vec<CallItem>) -> Self {
        let mut keys = BytesMut::with_capacity(items.iter().map(|item| item.key.len()).sum());
        let calls = items
            .into_iter()
            .map(|CallItem { mut call, key }| {
                call.key_bytes = short(key.len());
                keys.extend_from_slice(&key);
                call
            })
            .collect();
        Self {
            ping: ahead.ping,
            calls,
            keys: keys.freeze(),
        }
    }
}

impl Frame for PipelineReply {
    type Item = AnswerItem;

    fn weight(item: &AnswerItem) -> usize {
        RECORD_BYTES
            + item.answer.message.len()
            + item.value.as_ref().map_or(0, |entry| entry.value().len())
    }

    fn assemble(ahead: Ahead, items: Vec<AnswerItem>) -> Self {
        let total = items.iter().filter_map(|item| item.value.as_ref());
        let mut values = BytesMut::with_capacity(total.map(|entry| entry.value().len()).sum());
        let answers = items
            .into_iter()
            .map(|AnswerItem { mut answer, value }| {
                if let Some(entry) = value {
                    answer.value_bytes = short(entry.value().len());
                    values.extend_from_slice(entry.value());
                }
                answer
            })
            .collect();
        Self {
            pong: ahead.ping,
            draining: ahead.draining,
            answers,
            values: values.freeze(),
        }
    }
}

fn short(len: usize) -> u32 {
    u32::try_from(len).expect("keys and values are bounded far below 4 GiB")
}

/// The calls of a message, each with its key.
///
/// # Errors
/// [`Malformed`]: nothing of the message is used.
pub fn calls(message: PipelineRequest) -> Result<impl Iterator<Item = (Call, Bytes)>, Malformed> {
    let claimed = message
        .calls
        .iter()
        .map(|call| call.key_bytes as usize)
        .sum();
    check(claimed, message.keys.len())?;
    let mut keys = message.keys;
    Ok(message.calls.into_iter().map(move |call| {
        let key = keys.split_to(call.key_bytes as usize);
        (call, key)
    }))
}

/// The answers of a message, each with its value.
///
/// # Errors
/// [`Malformed`]: nothing of the message is used.
pub fn replies(message: PipelineReply) -> Result<impl Iterator<Item = Reply>, Malformed> {
    let claimed = message
        .answers
        .iter()
        .map(|answer| answer.value_bytes as usize)
        .sum();
    check(claimed, message.values.len())?;
    let mut values = message.values;
    Ok(message.answers.into_iter().map(move |answer| {
        let value = values.split_to(answer.value_bytes as usize);
        Reply { answer, value }
    }))
}

fn check(claimed: usize, present: usize) -> Result<(), Malformed> {
    if claimed == present {
        Ok(())
    } else {
        Err(Malformed { claimed, present })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(id: u64, key: &'static [u8]) -> CallItem {
        let call = Call {
            id,
            ..Call::default()
        };
        CallItem {
            call,
            key: Bytes::from_static(key),
        }
    }

    #[test]
    fn calls_come_out_as_they_went_in() {
        let message = PipelineRequest::assemble(
            Ahead {
                ping: 9,
                ..Ahead::default()
            },
            vec![item(1, b"Tom"), item(2, b""), item(3, b"x")],
        );
        assert_eq!(message.ping, 9);
        let back: Vec<_> = calls(message)
            .unwrap()
            .map(|(call, key)| (call.id, key))
            .collect();
        assert_eq!(back, [(1, "Tom".into()), (2, "".into()), (3, "x".into())]);
    }

    #[test]
    fn a_message_that_does_not_add_up_is_refused() {
        let mut message = PipelineRequest::assemble(Ahead::default(), vec![item(1, b"Tom")]);
        message.calls[0].key_bytes = u32::MAX;
        assert!(calls(message).is_err());
    }
}
