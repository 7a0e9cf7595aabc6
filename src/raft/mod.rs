//! Raft: agreement on the topology, and on nothing else.
//!
//! ```text
//! thread    ticks, inbox, watchdog: the only thread that owns a driver
//! driver    events → effects; the order of a Ready; README.md there is the overview
//!   filter    which messages may reach raft
//!   log       raft's storage: in memory, over a disk
//! disk      rows in atomic batches: RocksDB, or the simulator's
//! transport gRPC streams between nodes
//! graveyard what removed members have left in the data directory
//! recovery  offline: a new cluster from the logs of a lost one
//! ```
//!
//! `raft`'s types and those of its old protobuf stay in here.

pub mod directory;
pub mod disk;
pub mod driver;
pub mod envelope;
pub mod event;
pub mod filter;
pub mod graveyard;
pub mod latch;
pub mod log;
pub mod recovery;
pub mod rocks;
pub mod thread;
pub mod transport;

mod logging;
mod quorum;
mod snapshot;
