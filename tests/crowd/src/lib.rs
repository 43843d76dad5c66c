//! Many agents in one process, for measurements of a bridge with many targets.
//!
//! In reading order:
//! - [`device`]: one of them, by TCP or as an onion service.

pub mod device;
