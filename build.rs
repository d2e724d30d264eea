//! Tells the program which profile it was built with, so that measurements can say so: cargo tells only build scripts, and those only in
//! the path that they write to.

use std::path::Path;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let out = std::env::var("OUT_DIR").unwrap_or_default();
    // target/PROFILE/build/tidewatch-HASH/out
    let profile = Path::new(&out).ancestors().nth(3).and_then(Path::file_name).and_then(|name| name.to_str());
    println!("cargo::rustc-env=TIDEWATCH_PROFILE={}", profile.unwrap_or("unknown"));
}
