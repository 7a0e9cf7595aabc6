//! Roles together in one process, for what takes an origin or a view that a test controls.

mod deletes;
mod views;
