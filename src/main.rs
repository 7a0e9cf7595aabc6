//! The `gcache` executable: picks the allocator and hands over to [`gcache::cli`].

use std::process::ExitCode;

// Under many small allocations from many threads it is both faster and smaller than the system's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    gcache::cli::main()
}
