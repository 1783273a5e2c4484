//! Servers do not outlive the process that started them, however that ends.

use std::{
    io::{BufRead, BufReader},
    net::{SocketAddr, TcpStream},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use testbed::{postgres::Postgres, redis::Redis};

/// Not a test of its own: the process that the test below kills.
#[test]
#[ignore = "it waits to be killed by the other test"]
fn victim() {
    let (postgres, redis) = (Postgres::start(), Redis::start());
    // A stopped member makes the kernel send SIGHUP to the group that it leaves behind.
    let paused = Redis::start();
    paused.pause();
    println!("\nat {} {} {}", postgres.address(), redis.address(), paused.address());
    loop {
        std::thread::park();
    }
}

#[test]
fn servers_die_with_a_test_that_is_killed() {
    let mut victim = Command::new(std::env::current_exe().unwrap())
        .args(["victim", "--exact", "--ignored", "--nocapture"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(victim.stdout.take().unwrap()).lines();
    let addresses = lines.find_map(|line| Some(line.unwrap().strip_prefix("at ")?.to_owned()));
    let addresses: Vec<SocketAddr> =
        addresses.unwrap().split(' ').map(|address| address.parse().unwrap()).collect();
    assert_eq!(addresses.len(), 3);
    assert!(addresses.iter().all(|address| TcpStream::connect(address).is_ok()));
    victim.kill().unwrap();
    victim.wait().unwrap();
    let start = Instant::now();
    while addresses.iter().any(|address| TcpStream::connect(address).is_ok()) {
        assert!(start.elapsed() < Duration::from_secs(5), "a server lives on");
    }
}
