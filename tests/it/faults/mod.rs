//! Nodes, links and disks that fail under a cluster which serves, and how it heals.

mod directories;
mod frozen_node;
mod histories;
mod killed_node;
mod leases;
mod lost_nodes;
mod partitions;
mod restarts;
mod stalled_disk;
mod stopping_node;
