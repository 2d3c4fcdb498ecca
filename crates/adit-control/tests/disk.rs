//! Real disks that fill up or are read-only, made of memory. Needs root, to mount them.

#![expect(clippy::unwrap_used, reason = "a test ends where something is not as it should be")]

#[path = "state/world.rs"]
mod world;

use std::path::{Path, PathBuf};
use std::process::Command as Process;

use adit_control::{Command, Service, ServiceError, Store, StoreError};
use tempfile::TempDir;

use world::{NOW, act, actor, add, invite, network, redeem};

/// A file system of its own, gone with the test.
struct Disk(TempDir);

impl Disk {
    fn new(options: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        run("mount", &["-t", "tmpfs", "-o", options, "adit-test"], dir.path());
        Self(dir)
    }

    /// A state that was closed. A child that the other test is about to start may have inherited its lock for a moment.
    fn open_again(&self) -> Store {
        for _ in 0..500 {
            match Store::sqlite(&self.state()) {
                Err(StoreError::InUse(_)) => std::thread::sleep(std::time::Duration::from_millis(10)),
                opened => return opened.unwrap(),
            }
        }
        panic!("the state stays in use");
    }

    fn remount(&self, options: &str) {
        run("mount", &["-o", &format!("remount,{options}")], self.0.path());
    }

    fn state(&self) -> PathBuf {
        self.0.path().join("state")
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        run("umount", &["-l"], self.0.path());
    }
}

fn run(program: &str, options: &[&str], path: &Path) {
    let output = Process::new(program).args(options).arg(path).output().unwrap();
    assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
}

#[tokio::test]
async fn a_disk_that_fills_up_loses_nothing_and_with_room_it_goes_on() {
    let disk = Disk::new("size=512k");
    let service = Service::start(Store::sqlite(&disk.state()).unwrap()).await.unwrap();
    service.execute(Command::CreateNetwork(network()), actor(), NOW).await.unwrap();
    let mut number = 0;
    let error = loop {
        number += 1;
        assert!(number < 10_000, "the disk is full some time");
        if let Err(error) = service.execute(add(&format!("app{number}"), number), actor(), NOW).await {
            break error;
        }
    };
    assert!(matches!(error, ServiceError::Store(StoreError::Full(_))), "{error:?}");
    assert!(error.to_string().contains("nothing was changed"), "{error}");
    assert_eq!(service.model().peers.len() as u64, number - 1, "it serves those it knows");
    // More refusals change as little.
    for command in [invite(1, 1), redeem(1, 5_000), Command::Disable(adit_control::PeerId(1))] {
        drop(service.execute(command, actor(), NOW).await);
    }
    disk.remount("size=16m");
    service.execute(add("late", 6_000), actor(), NOW).await.unwrap();
    let model = service.model();
    assert_eq!(model.contradictions(), Vec::<String>::new());
    service.close().await;
    let again = disk.open_again();
    assert_eq!(again.load().await.unwrap(), *model);
    assert_eq!(again.audit(None, 1).await.unwrap()[0].revision, model.revision);
    again.close().await;
}

#[tokio::test]
async fn a_read_only_disk_is_called_so_and_left_alone() {
    let disk = Disk::new("size=4m");
    let store = Store::sqlite(&disk.state()).unwrap();
    let mut model = store.load().await.unwrap();
    act(&store, &mut model, Command::CreateNetwork(network()), NOW).await.unwrap();
    store.close().await;
    disk.remount("ro");
    let refused = Store::sqlite(&disk.state()).unwrap_err();
    assert!(matches!(refused, StoreError::ReadOnly(_)), "{refused:?}");
    disk.remount("rw");
    let store = disk.open_again();
    assert_eq!(store.load().await.unwrap(), model);
    store.close().await;
}
