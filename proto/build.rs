//! Generates code from the `.proto` files: of the services, with the descriptors that reflection serves,
//! and of what the log replicates, which has messages only.

use std::path::PathBuf;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    tonic_prost_build::configure()
        .bytes(".")
        .file_descriptor_set_path(out.join("descriptors.bin"))
        .compile_protos(&["proto/cache.proto", "proto/control.proto"], &["proto"])?;
    tonic_prost_build::configure().compile_protos(&["proto/state.proto"], &["proto"])?;
    // Between nodes only: reflection does not show it.
    tonic_prost_build::configure()
        .bytes(".")
        .compile_protos(&["proto/raft.proto"], &["proto"])?;
    println!("cargo:rerun-if-changed=proto");
    Ok(())
}
