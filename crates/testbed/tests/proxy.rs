//! Each fault of the proxy, against a server that echoes and against Redis.

#![expect(clippy::unwrap_used, reason = "its helpers are test code too")]

use std::{
    io::{ErrorKind, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};

use testbed::{
    proxy::Proxy,
    redis,
    steps::{Action, Steps},
};

/// A server that answers with what it was told, and counts the bytes that it read.
fn echo() -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let heard = Arc::new(AtomicUsize::new(0));
    let counter = heard.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (mut stream, counter) = (stream.unwrap(), counter.clone());
            std::thread::spawn(move || {
                let mut buffer = [0; 1024];
                while let Ok(count @ 1..) = stream.read(&mut buffer) {
                    counter.fetch_add(count, SeqCst);
                    if stream.write_all(&buffer[..count]).is_err() {
                        break;
                    }
                }
            });
        }
    });
    (address, heard)
}

fn connect(proxy: &Proxy) -> TcpStream {
    let stream = TcpStream::connect(proxy.address()).unwrap();
    stream.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    stream
}

/// Sends a word, and returns what comes back, or how the connection failed.
fn ask(stream: &mut TcpStream, word: &str) -> Result<String, ErrorKind> {
    stream.write_all(word.as_bytes()).map_err(|e| e.kind())?;
    hear(stream)
}

fn hear(stream: &mut TcpStream) -> Result<String, ErrorKind> {
    let mut buffer = [0; 1024];
    let count = stream.read(&mut buffer).map_err(|e| e.kind())?;
    Ok(String::from_utf8_lossy(&buffer[..count]).into_owned())
}

const SILENCE: Result<String, ErrorKind> = Err(ErrorKind::WouldBlock);
const RESET: Result<String, ErrorKind> = Err(ErrorKind::ConnectionReset);

#[expect(clippy::unnecessary_wraps, reason = "it is compared with what `ask` returns")]
fn says(word: &str) -> Result<String, ErrorKind> {
    Ok(word.to_owned())
}

#[test]
fn what_is_rewritten_reaches_the_server_in_its_new_form() {
    let (address, _) = echo();
    let proxy = Proxy::to(address);
    let mut stream = connect(&proxy);
    proxy.rewrite("lock", "look");
    assert_eq!(ask(&mut stream, "lock and lock and key"), Ok("look and look and key".to_owned()));
    assert_eq!(proxy.rewritten(), 2);
    proxy.heal();
    assert_eq!(ask(&mut stream, "lock"), Ok("lock".to_owned()));
}

#[test]
fn without_a_fault_it_forwards_and_counts() {
    let (address, heard) = echo();
    let proxy = Proxy::to(address);
    let mut stream = connect(&proxy);
    assert_eq!(ask(&mut stream, "one"), says("one"));
    assert_eq!(ask(&mut stream, "two"), says("two"));
    assert_eq!((proxy.writes(), heard.load(SeqCst)), (2, 6));
    // The end of one side is passed on, and the other side ends in turn.
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!(hear(&mut stream), says(""));
}

#[test]
fn much_passes_unharmed_both_ways() {
    let proxy = Proxy::to(echo().0);
    let mut stream = connect(&proxy);
    let sent: Vec<u8> = (0..3_000_000_u32).map(|n| n.to_le_bytes()[0]).collect();
    let mut got = vec![0; sent.len()];
    std::thread::scope(|scope| {
        let mut writer = stream.try_clone().unwrap();
        scope.spawn(move || writer.write_all(&sent).unwrap());
        stream.read_exact(&mut got).unwrap();
    });
    assert!(got.iter().zip(0_u32..).all(|(byte, n)| *byte == n.to_le_bytes()[0]));
}

#[test]
fn urls_are_rewritten_where_the_host_stands() {
    let proxy = Proxy::to(echo().0);
    let at = proxy.address();
    for (url, expected) in [
        ("postgres://u:p@host:5432/db?a=b", format!("postgres://u:p@{at}/db?a=b")),
        ("redis://127.0.0.1:6379/", format!("redis://{at}/")),
        ("redis://:secret@host", format!("redis://:secret@{at}")),
    ] {
        assert_eq!(proxy.in_place_of(url), expected);
    }
}

#[test]
fn a_delay_holds_in_each_direction_until_it_heals() {
    let proxy = Proxy::to(echo().0);
    let mut stream = connect(&proxy);
    assert_eq!(ask(&mut stream, "a"), says("a"));
    let delay = Duration::from_millis(60);
    proxy.delay(delay);
    let mut asked = |letter: &str| {
        let start = Instant::now();
        assert_eq!(ask(&mut stream, letter), says(letter));
        start.elapsed()
    };
    assert!(asked("b") >= 2 * delay);
    proxy.heal();
    // A busy machine makes some of them slow, and none of them fast.
    let fastest = (0..10).map(|_| asked("c")).min();
    assert!(fastest < Some(delay), "{fastest:?}");
}

#[test]
fn a_cut_resets_and_refuses_until_it_heals() {
    let proxy = Proxy::to(echo().0);
    let mut stream = connect(&proxy);
    assert_eq!(ask(&mut stream, "a"), says("a"));
    proxy.cut();
    assert_eq!(hear(&mut stream), RESET);
    let refused = TcpStream::connect(proxy.address()).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    proxy.heal();
    assert_eq!(ask(&mut connect(&proxy), "b"), says("b"));

    let mut stream = connect(&proxy);
    assert_eq!(ask(&mut stream, "c"), says("c"));
    proxy.cut_once();
    assert_eq!(hear(&mut stream), RESET);
    assert_eq!(ask(&mut connect(&proxy), "d"), says("d"));
}

#[test]
fn after_a_failover_new_connections_reach_the_other_server() {
    let ((one, heard_by_one), (other, heard_by_other)) = (echo(), echo());
    let proxy = Proxy::to(one);
    let mut live = connect(&proxy);
    assert_eq!(ask(&mut live, "one"), says("one"));
    proxy.point_to(other);
    assert_eq!(ask(&mut live, "still"), says("still"));
    assert_eq!(ask(&mut connect(&proxy), "other"), says("other"));
    assert_eq!(heard_by_one.load(SeqCst), "onestill".len());
    assert_eq!(heard_by_other.load(SeqCst), "other".len());
}

#[test]
fn a_black_hole_swallows_for_ever() {
    let (address, heard) = echo();
    let proxy = Proxy::to(address);
    let (mut old, mut idle) = (connect(&proxy), connect(&proxy));
    assert_eq!(ask(&mut old, "a"), says("a"));
    assert_eq!(ask(&mut idle, "b"), says("b"));
    proxy.blackhole();
    let mut new = connect(&proxy);
    assert_eq!(ask(&mut old, "lost"), SILENCE);
    assert_eq!(ask(&mut new, "lost"), SILENCE);
    proxy.heal();
    assert_eq!(hear(&mut old), RESET);
    assert_eq!(hear(&mut new), RESET);
    // A connection that was idle meanwhile has missed nothing.
    assert_eq!(ask(&mut idle, "c"), says("c"));
    assert_eq!(heard.load(SeqCst), 3);
}

#[test]
fn answers_are_given_once_for_each_command() {
    let (address, heard) = echo();
    let proxy = Proxy::to(address);
    let mut stream = connect(&proxy);
    proxy.answer(b"-LOADING Redis is loading the dataset in memory\r\n");
    let two = "*1\r\n$4\r\nPING\r\n*1\r\n$4\r\nPING\r\n";
    let line = "-LOADING Redis is loading the dataset in memory\r\n";
    assert_eq!(ask(&mut stream, two), says(&line.repeat(2)));
    assert_eq!((proxy.writes(), heard.load(SeqCst)), (0, 0));
    proxy.heal();
    assert_eq!(ask(&mut stream, "a"), says("a"));
}

#[test]
fn lost_answers_belong_to_requests_that_arrived() {
    let (address, heard) = echo();
    let proxy = Proxy::to(address);
    let mut stream = connect(&proxy);
    proxy.lose_answers();
    assert_eq!(ask(&mut stream, "done"), SILENCE);
    assert_eq!((proxy.writes(), heard.load(SeqCst)), (1, 4));
    proxy.heal();
    assert_eq!(hear(&mut stream), RESET);
}

#[test]
fn a_step_is_cut_before_or_after_it_is_done() {
    let (address, heard) = echo();
    let steps = Steps::new();
    let proxies = [Proxy::to_counted(address, &steps), Proxy::to_counted(address, &steps)];
    let mut first = connect(&proxies[0]);
    steps.arm(2, Action::CutBefore);
    assert_eq!(ask(&mut first, "a"), says("a"));
    assert!(!steps.fired());
    assert_eq!(ask(&mut connect(&proxies[1]), "b"), RESET);
    assert_eq!((steps.fired(), steps.count(), heard.load(SeqCst)), (true, 2, 1));
    // It happens once, and to that connection alone.
    assert_eq!(ask(&mut connect(&proxies[1]), "c"), says("c"));
    assert_eq!(ask(&mut first, "d"), says("d"));

    steps.arm(1, Action::CutAfter);
    assert_eq!(ask(&mut first, "e"), RESET);
    assert_eq!((steps.fired(), steps.count(), heard.load(SeqCst)), (true, 1, 4));

    steps.arm(1, Action::CutBefore);
    steps.disarm();
    assert_eq!(ask(&mut connect(&proxies[0]), "f"), says("f"));
    assert!(!steps.fired());
}

#[test]
fn an_action_may_use_the_proxy_itself() {
    let steps = Steps::new();
    let proxy = Arc::new(Proxy::to_counted(echo().0, &steps));
    let cut = proxy.clone();
    steps.arm(1, Action::Call(Box::new(move || cut.cut())));
    assert_eq!(ask(&mut connect(&proxy), "a"), RESET);
    assert!(TcpStream::connect(proxy.address()).is_err());
    proxy.heal();
    assert_eq!(ask(&mut connect(&proxy), "b"), says("b"));
}

#[test]
fn it_may_be_used_inside_a_runtime() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let proxy = Proxy::to(echo().0);
        proxy.cut();
        proxy.heal();
        proxy.blackhole();
    });
}

#[test]
fn redis_is_read_only_as_long_as_the_proxy_says_so() {
    let redis = redis::shared();
    let proxy = Proxy::to(redis.address());
    let mut stream = connect(&proxy);
    let set = "*3\r\n$3\r\nSET\r\n$5\r\nproxy\r\n$1\r\n1\r\n";
    proxy.answer(b"-READONLY You can't write against a read only replica.\r\n");
    assert!(ask(&mut stream, set).unwrap().starts_with("-READONLY"));
    assert_eq!(redis.cli(&["EXISTS", "proxy"]), "0");
    proxy.lose_answers();
    assert_eq!(ask(&mut stream, set), SILENCE);
    assert_eq!(redis.cli(&["EXISTS", "proxy"]), "1");
    proxy.heal();
    assert_eq!(ask(&mut connect(&proxy), "*1\r\n$4\r\nPING\r\n"), says("+PONG\r\n"));
}

#[test]
fn redis_is_killed_before_a_step() {
    let redis = Arc::new(redis::Redis::start());
    let steps = Steps::new();
    let proxy = Proxy::to_counted(redis.address(), &steps);
    let mut stream = connect(&proxy);
    let ping = "*1\r\n$4\r\nPING\r\n";
    let victim = redis.clone();
    steps.arm(2, Action::Call(Box::new(move || victim.kill())));
    assert_eq!(ask(&mut stream, ping), says("+PONG\r\n"));
    let end = ask(&mut stream, ping);
    assert!(end == RESET || end == says(""), "{end:?}");
    assert!(!redis.is_running());
    assert!(matches!(ask(&mut connect(&proxy), ping), Err(ErrorKind::ConnectionReset)));
    redis.start_again();
    assert_eq!(ask(&mut connect(&proxy), ping), says("+PONG\r\n"));
}
