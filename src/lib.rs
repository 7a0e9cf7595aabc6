//! gcache: a distributed read-through cache in front of PostgreSQL.
//!
//! This is the map. Layers, each of which knows only those below it; a test holds the rule:
//!
//! ```text
//! main → cli → dev → roles      node · frontend · loadgen  wiring and policy; never import one another
//!                  → adapters   rpc · origin · discovery … one outside thing each; never import one another
//!                  → pure       cache · topology · ownership … no I/O, no clock, no spawn
//! ```
//!
//! Eight walks:
//!
//! - **a GET**: `frontend/service` → `frontend/route` (view → owner) → `rpc/pipeline` → `node/service` →
//!   `node/read` (may I answer? [`ownership`]) → `cache` (a hit ends here) → flight → `node/loader` → `origin` →
//!   and back, with `Cache-Status` made in `frontend/respond`.
//! - **a delete**: the same way to `node/read/delete`: dropped from `cache`, acknowledged once every member that may
//!   hold the entry has dropped it too (`cache/feed`, [`ownership::settle`], [`topology::lease`]).
//! - **an agreed change**: `node/leader` (the shell of what a leader decides, [`topology::leader`]), another node's `Enter`
//!   or an operator's `Commit` (`node/control/service`) → `raft/thread` → `raft/driver` → `raft/log` and
//!   `raft/transport` → `topology/state/apply` → [`topology::state::State`].
//! - **a topology change**: `node/member/raft_link` (state → [`topology::view::View`]) → `node/read` (may I
//!   answer?) → `cache` (stamps); and `node/control/followers` → `frontend/follow` → `frontend/nodes`
//!   (pipelines) → `frontend/route`.
//! - **a move**: `node/leader` ([`topology::moves`](mod@topology::moves)) prepares → `node/moves/move_out`
//!   (`cache`: taps, feed) → `rpc/transfer` → `node/moves/move_in` (`cache`: arrivals) → renewals report it warm →
//!   the leader activates → `node/loader` peeks.
//! - **a lease**: `node/member/renew` → `rpc/control` → `node/control/grant` → `node/leader` → a quorum round
//!   → [`topology::lease`] → back, and `node/lease` → [`ownership::duty`] (may I act?) → `node/read`.
//! - **a life**: `node/member/life`, by the rules of [`membership`]: it opens, founds or joins (`admission`),
//!   announces its start, leaves (`leave`), or serves on without a log (`outlive`).
//! - **a setting**: `config/default.toml` < `--config` file < `GCACHE__SECTION__KEY` < `--set` and flags →
//!   [`config::Config`] → `cli` → a role's `start` → a constructor.

// Pure.
pub mod ids;

pub mod hash;

pub mod cache;

pub mod overload;

pub mod topology;

pub mod membership;

pub mod ownership;

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
