//! gcache: a distributed read-through cache in front of PostgreSQL.
//!
//! This is the map. Layers, each of which knows only those below it; a test holds the rule:
//!
//! ```text
//! main → cli → dev → roles      node · frontend · loadgen  wiring and policy; never import one another
//!                  → adapters   rpc · origin · discovery … one outside thing each; never import one another
//!                  → pure       cache · topology · …       no I/O, no clock, no spawn
//! ```
//!
//! Six walks:
//!
//! - **a GET**: `frontend/service` → `frontend/route` (view → owner) → `rpc/pipeline` → `node/service` →
//!   `node/read` → `cache` (a hit ends here) → flight → `node/loader` → `origin` → and back, with
//!   `Cache-Status` made in `frontend/respond`.
//! - **an agreed change**: `node/control/office` (what a leader decides), another node's `Enter` or an
//!   operator's `Commit` → `raft/thread` → `raft/driver` → `raft/log` and `raft/transport` →
//!   `topology/state/apply` → [`topology::state::State`].
//! - **a topology change**: `node/control/carrier` (state → [`topology::view::View`]) → `node/read` (may I
//!   answer?) → `cache` (stamps); and `node/control/followers` → `frontend/follow` → `frontend/nodes`
//!   (pipelines) → `frontend/route`.
//! - **a move**: `node/control/office` ([`topology::moves`](mod@topology::moves)) prepares →
//!   `node/moves/source` (`cache`: taps, feed) → `rpc/hand_over` → `node/moves/target` (`cache`: arrivals) → renewals say warm → the office
//!   activates → `node/loader` peeks.
//! - **a lease**: `node/control/renew` → `rpc/control` → `node/control/office` of the leader → a quorum round
//!   → [`topology::lease`] → back, and `node/lease` (may I act?) → `node/read`.
//! - **a setting**: `config/default.toml` < `--config` file < `GCACHE__SECTION__KEY` < `--set` and flags →
//!   [`config::Config`] → `cli` → a role's `start` → a constructor.

// Pure.
pub mod ids;

pub mod hash;

pub mod cache;

pub mod topology;

pub mod config;

// Adapters.
pub mod clock;

pub mod net;

pub mod shutdown;

pub mod telemetry;

pub mod metrics;

pub mod http;

pub mod client;

pub mod admin;

pub mod rpc;

pub mod origin;

pub mod discovery;

pub mod identity;

pub mod raft;

// Roles.
pub mod node;

pub mod frontend;

pub mod loadgen;

// All of it together.
pub mod dev;

pub mod cli;
