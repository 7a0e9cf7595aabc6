//! Between our types and the wire's: envelopes, refusals, and the chunks of a snapshot.

use bytes::Bytes;

use super::book::Address;
use super::bounds::SNAPSHOT_CHUNK_BYTES;
use super::proto;
use crate::ids::{ClusterId, Incarnation, NodeId};
use crate::raft::envelope::Envelope;

/// Why a node takes nothing from a sender. Raft reports nothing to a removed node: this does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The addressee belongs to another cluster.
    WrongCluster,
    /// The sender was removed from the cluster, for ever.
    Removed,
    /// A later start of the sender is known.
    StaleIncarnation,
    /// Another node listens at the address by now.
    NotAddressee,
    /// The message is none that one node may send another.
    Unacceptable,
    /// For a reason that this executable does not know.
    Unexplained,
}

impl Refusal {
    pub(super) const ALL: [(Self, &'static str); 6] = [
        (Self::WrongCluster, "wrong-cluster"),
        (Self::Removed, "removed"),
        (Self::StaleIncarnation, "stale-incarnation"),
        (Self::NotAddressee, "not-addressee"),
        (Self::Unacceptable, "unacceptable"),
        (Self::Unexplained, "unexplained"),
    ];
}

impl From<Refusal> for proto::Nack {
    fn from(refusal: Refusal) -> Self {
        let reason = match refusal {
            Refusal::WrongCluster => proto::Reason::WrongCluster,
            Refusal::Removed => proto::Reason::Removed,
            Refusal::StaleIncarnation => proto::Reason::StaleIncarnation,
            Refusal::NotAddressee => proto::Reason::NotAddressee,
            Refusal::Unacceptable => proto::Reason::Unacceptable,
            Refusal::Unexplained => proto::Reason::Unspecified,
        };
        Self {
            reason: reason.into(),
        }
    }
}

impl From<proto::Nack> for Refusal {
    fn from(nack: proto::Nack) -> Self {
        match nack.reason() {
            proto::Reason::WrongCluster => Self::WrongCluster,
            proto::Reason::Removed => Self::Removed,
            proto::Reason::StaleIncarnation => Self::StaleIncarnation,
            proto::Reason::NotAddressee => Self::NotAddressee,
            proto::Reason::Unacceptable => Self::Unacceptable,
            proto::Reason::Unspecified => Self::Unexplained,
        }
    }
}

/// Something on the wire is not what it should be.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Malformed {
    #[error("a cluster's id has 16 bytes, not {0}")]
    Cluster(usize),
    #[error("no node has the id 0")]
    NoNode,
    #[error("a stream's envelopes have one sender and one addressee")]
    Mixed,
    #[error("a snapshot's first chunk lacks its head")]
    Headless,
}

/// As the wire has it; `address` goes with the first envelope of a stream.
pub(super) fn encode(envelope: Envelope, address: Option<&Address>) -> proto::Envelope {
    proto::Envelope {
        cluster: Bytes::copy_from_slice(&envelope.cluster.0.to_be_bytes()),
        from: envelope.from.0,
        incarnation: envelope.incarnation.0,
        to: envelope.to.0,
        message: envelope.message,
        address: address.map(Address::to_string).unwrap_or_default(),
        checkpoint: envelope
            .checkpoint
            .map(|(index, hash)| proto::Checkpoint { index, hash }),
    }
}

/// Reads an envelope that came.
pub(super) fn decode(envelope: proto::Envelope) -> Result<Envelope, Malformed> {
    let cluster = <[u8; 16]>::try_from(envelope.cluster.as_ref())
        .map_err(|_| Malformed::Cluster(envelope.cluster.len()))?;
    if envelope.from == 0 || envelope.to == 0 {
        return Err(Malformed::NoNode);
    }
    Ok(Envelope {
        cluster: ClusterId(u128::from_be_bytes(cluster)),
        from: NodeId(envelope.from),
        incarnation: Incarnation(envelope.incarnation),
        to: NodeId(envelope.to),
        checkpoint: envelope
            .checkpoint
            .map(|checkpoint| (checkpoint.index, checkpoint.hash)),
        message: envelope.message,
    })
}

/// A snapshot in chunks, cut as they are asked for.
pub(super) fn chunks(
    mut envelope: Envelope,
) -> impl Iterator<Item = proto::SnapshotChunk> + Send + 'static {
    let mut rest = std::mem::take(&mut envelope.message);
    let total_bytes = rest.len() as u64;
    let mut head = Some(encode(envelope, None));
    std::iter::from_fn(move || {
        let head = head.take();
        if head.is_none() && rest.is_empty() {
            return None;
        }
        let total_bytes = if head.is_some() { total_bytes } else { 0 };
        let data = rest.split_to(rest.len().min(SNAPSHOT_CHUNK_BYTES));
        Some(proto::SnapshotChunk {
            head,
            total_bytes,
            data,
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn envelope(bytes: usize) -> Envelope {
        Envelope {
            cluster: ClusterId(7 << 100),
            from: NodeId(1),
            incarnation: Incarnation(3),
            to: NodeId(2),
            checkpoint: Some((64, 7)),
            message: vec![9; bytes].into(),
        }
    }

    #[test]
    fn an_envelope_comes_out_as_it_went_in() {
        assert_eq!(decode(encode(envelope(5), None)), Ok(envelope(5)));
    }

    #[test]
    fn what_is_no_envelope_is_refused() {
        let mut cluster = encode(envelope(5), None);
        cluster.cluster = Bytes::from_static(b"abc");
        assert_eq!(decode(cluster), Err(Malformed::Cluster(3)));
        let mut nobody = encode(envelope(5), None);
        nobody.from = 0;
        assert_eq!(decode(nobody), Err(Malformed::NoNode));
    }

    #[test]
    fn every_refusal_comes_out_as_it_went_in() {
        for (refusal, _) in Refusal::ALL {
            assert_eq!(Refusal::from(proto::Nack::from(refusal)), refusal);
        }
        let novel = proto::Nack { reason: 99 };
        assert_eq!(Refusal::from(novel), Refusal::Unexplained);
    }

    #[test]
    fn chunks_add_up_and_only_the_first_has_a_head() {
        for (bytes, count) in [(0, 1), (1, 1), (SNAPSHOT_CHUNK_BYTES + 1, 2)] {
            let all: Vec<_> = chunks(envelope(bytes)).collect();
            assert_eq!(all.len(), count);
            assert_eq!(all[0].total_bytes, bytes as u64);
            assert_eq!(
                all.iter().map(|chunk| chunk.data.len()).sum::<usize>(),
                bytes
            );
            assert_eq!(all.iter().filter(|chunk| chunk.head.is_some()).count(), 1);
        }
    }
}
