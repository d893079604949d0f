//! Rebuilds the crate when the user interface was built, so that the binary embeds the new files.

use std::path::Path;

fn main() {
    // A missing path would make every build start over; the folder around it notices that `dist` appears.
    let dist = Path::new("../../www/dist");
    let watched = if dist.exists() { dist } else { Path::new("../../www") };
    println!("cargo::rerun-if-changed={}", watched.display());
}
