//! Batches that have been counted, kept for the next bodies: their memory passes from the readers to the watch and back, instead of
//! through the allocator of another thread.

use std::sync::{Arc, Mutex, PoisonError};

use crate::model::Batch;

/// Batches kept.
const KEPT: usize = 64;
/// Larger ones are rare, and their memory is worth more than the time to ask for it.
const BYTES_MAX: usize = 1 << 20;

/// Empty batches with memory. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Spare(Arc<Mutex<Vec<Batch>>>);

impl Spare {
    /// An empty batch.
    pub fn take(&self) -> Batch {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).pop().unwrap_or_default()
    }

    /// Takes back a batch that nobody needs any more.
    pub fn give(&self, mut batch: Batch) {
        if batch.capacity() > BYTES_MAX {
            return;
        }
        batch.clear();
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() < KEPT {
            kept.push(batch);
        }
    }
}
