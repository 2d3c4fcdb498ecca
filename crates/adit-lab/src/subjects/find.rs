//! Where programs are. Not here: installing them (`cargo xtask setup`).

use std::env;
use std::path::PathBuf;

/// A peer's program: in `ADIT_BENCH_PEERS`, else on the `PATH`.
pub fn peer(name: &str) -> Option<PathBuf> {
    let listed = env::var_os("ADIT_BENCH_PEERS").into_iter().chain(env::var_os("PATH"));
    let directories: Vec<_> = listed.flat_map(|paths| env::split_paths(&paths).collect::<Vec<_>>()).collect();
    directories.into_iter().map(|directory| directory.join(name)).find(|path| path.is_file())
}

/// One of our own programs: in `ADIT_BIN_DIR`, else where cargo puts it when it also built the program that asks.
#[track_caller]
pub fn beside_this_program(name: &str) -> PathBuf {
    let directories: Vec<PathBuf> = match env::var_os("ADIT_BIN_DIR") {
        Some(directory) => vec![directory.into()],
        None => {
            let here = env::current_exe().unwrap_or_default();
            here.ancestors().skip(1).take(2).map(PathBuf::from).collect()
        }
    };
    let found = directories.iter().map(|directory| directory.join(name)).find(|path| path.is_file());
    found.unwrap_or_else(|| panic!("{name} is in none of {directories:?}\n  hint: run `cargo build -p adit-cli`"))
}
