//! The control plane: how a cluster forms, changes, moves partitions, and is operated.

mod copies;
mod crashes;
mod damage;
mod discovery;
mod disks;
mod founding;
mod health;
mod identity;
mod leaving;
mod lost_tasks;
mod moves;
mod old_copies;
mod operators;
mod refused;
mod ring_explain;
mod ring_pause;
mod ring_plan;
mod rollover;
mod seeds;
mod snapshots;
mod strangers;
mod upgrade;
