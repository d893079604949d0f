//! Frames between master and worker, in both directions.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use worker_protocol::codec::Reader;
use worker_protocol::{Inbound, MasterRequest, WorkerRequest};

fuzz_target!(|frame: &[u8]| {
    let bytes = Bytes::copy_from_slice(frame);
    let _ = Inbound::<WorkerRequest>::decode(&bytes);
    let _ = Inbound::<MasterRequest>::decode(&bytes);
    // Whatever is read can be skipped, and takes as many bytes.
    let (mut read, mut skip) = (Reader::new(frame), Reader::new(frame));
    if read.value().is_ok() {
        assert!(skip.skip().is_ok());
        assert_eq!(read.remaining(), skip.remaining());
    }
});
