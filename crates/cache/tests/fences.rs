//! Threads that write, fill, look up, void and crowd one another out, over a small simulated store: whatever they do, no hit may be
//! older than what had been acknowledged when the request began. With a failpoint set the same run must find a stale hit, or it
//! would find none ever.

use bytes::Bytes;
use mainstay_cache::*;
use mainstay_model::*;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

const ROWS: usize = 12;
const GROUPS: i64 = 3;
const TABLE: RelationId = RelationId(0);

/// (group, version) of each row, and what is under way.
struct State {
    rows: [(i64, u64); ROWS],
    next: u64,
    active: Vec<u64>,
}

/// A store whose reads see all rows at one moment.
struct Simulated {
    state: Mutex<State>,
    /// Held from a commit's becoming visible until the cache has taken it in: feeds are in commit order.
    commits: Mutex<()>,
    /// Version of each row that a client has been told of.
    acknowledged: [AtomicU64; ROWS],
    cache: Arc<Cache>,
    schema: Schema,
    /// Fences are snapshots with holes, as on a server, rather than positions.
    snapshots: bool,
}

/// What a request asks for.
#[derive(Clone, Copy)]
enum Ask {
    Row(i64),
    Group(i64),
    Below(i64),
    All,
}

struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % n
    }

    /// Lets the others run for a while, or not.
    fn dawdle(&mut self) {
        match self.below(8) {
            0 => std::thread::park_timeout(Duration::from_micros(self.below(300))),
            1..=3 => (0..self.below(4)).for_each(|_| std::thread::yield_now()),
            _ => {}
        }
    }
}

fn image(id: usize, (group, version): (i64, u64)) -> Row {
    [Value::Int(id as i64), Value::Int(group), Value::Int(version as i64)].into()
}

impl Ask {
    fn plan(self) -> (u64, Option<i64>) {
        match self {
            Ask::Row(n) => (1, Some(n)),
            Ask::Group(n) => (2, Some(n)),
            Ask::Below(n) => (3, Some(n)),
            Ask::All => (4, None),
        }
    }

    fn wants(self, id: usize, group: i64) -> bool {
        match self {
            Ask::Row(n) => id as i64 == n,
            Ask::Group(n) => group == n,
            Ask::Below(n) => (id as i64) < n,
            Ask::All => true,
        }
    }

    fn key(self) -> Key {
        let (plan, param) = self.plan();
        let params: Vec<Value> = param.map(Value::Int).into_iter().collect();
        Key::new(plan, 0, &params, &Identity::anon(), &[], "text")
    }

    fn footprint(self) -> Footprint {
        let column = |n| Expr::column(n, Type::Int8);
        let is = |operator, n| Some(Expr::compare(operator, column(n), Expr::param(0, Type::Int8)));
        let filter = match self {
            Ask::Row(_) => is(Operator::Eq, 0),
            Ask::Group(_) => is(Operator::Eq, 1),
            Ask::Below(_) => is(Operator::Lt, 0),
            Ask::All => None,
        };
        let reads = TableReads {
            relation: TABLE,
            columns: Columns::All,
            filter,
            certain: true,
        };
        let values = vec![self.plan().1.map(Value::Int)];
        Footprint::new(Arc::new(ReadSet::new(vec![reads])), values)
    }
}

impl Simulated {
    fn new(config: Config, snapshots: bool) -> Simulated {
        Simulated {
            state: Mutex::new(State {
                rows: std::array::from_fn(|id| (id as i64 % GROUPS, 1)),
                next: 1,
                active: Vec::new(),
            }),
            commits: Mutex::new(()),
            acknowledged: std::array::from_fn(|_| AtomicU64::new(1)),
            cache: Cache::new(config),
            schema: Schema::default(),
            snapshots,
        }
    }

    fn fence(&self, state: &State) -> Fence {
        match self.snapshots {
            false => Fence::UpTo(Position {
                store: 0,
                token: state.next - 1,
            }),
            true => {
                let min = state.active.iter().copied().min().unwrap_or(state.next);
                let mut in_progress = state.active.clone();
                in_progress.sort_unstable();
                Fence::Snapshot {
                    store: 0,
                    min,
                    max: state.next,
                    in_progress,
                }
            }
        }
    }

    fn write(&self, random: &mut Random) {
        let mut ids = vec![random.below(ROWS as u64) as usize];
        if random.below(4) == 0 {
            ids.push((ids[0] + 1) % ROWS);
        }
        let begun = self.snapshots.then(|| {
            let mut state = self.state.lock().unwrap();
            let token = state.next;
            state.next += 1;
            state.active.push(token);
            token
        });
        random.dawdle();
        let order = self.commits.lock().unwrap();
        let mut changes = Vec::new();
        let token = {
            let mut state = self.state.lock().unwrap();
            for &id in &ids {
                let before = state.rows[id];
                let group = if random.below(2) == 0 {
                    random.below(GROUPS as u64) as i64
                } else {
                    before.0
                };
                let after = (group, before.1 + 1);
                state.rows[id] = after;
                changes.push((id, before, after));
            }
            match begun {
                Some(token) => {
                    state.active.retain(|other| *other != token);
                    token
                }
                None => {
                    state.next += 1;
                    state.next - 1
                }
            }
        };
        random.dawdle();
        let foreign = random.below(40) == 0;
        if foreign {
            self.cache.void(0, "a writer that nobody saw");
        } else {
            let change = |(id, before, after): &(usize, (i64, u64), (i64, u64))| Change {
                relation: TABLE,
                kind: ChangeKind::Update,
                before: Some(image(*id, *before)),
                after: Some(image(*id, *after)),
            };
            let changes = Changes {
                position: Position { store: 0, token },
                rows: changes.iter().map(change).collect(),
            };
            self.cache.apply(&self.schema, &changes);
        }
        for (id, _, (_, version)) in changes {
            self.acknowledged[id].fetch_max(version, Ordering::SeqCst);
        }
        drop(order);
    }

    fn answer(&self, ask: Ask, random: &mut Random) -> (Bytes, Fence) {
        random.dawdle();
        let (rows, fence) = {
            let state = self.state.lock().unwrap();
            // A position is read before the snapshot, so that it never claims too much.
            (state.rows, self.fence(&state))
        };
        random.dawdle();
        let mut body = String::new();
        for (id, (group, version)) in rows.into_iter().enumerate() {
            if ask.wants(id, group) {
                body += &format!("{id}:{version} ");
            }
        }
        // Different sizes, so that shards fill unevenly.
        body += &" ".repeat(random.below(2000) as usize);
        (body.into(), fence)
    }

    async fn read(&self, random: &mut Random, held: &mut Vec<(Bytes, Kept)>) -> Result<(), String> {
        let ask = match random.below(8) {
            0..=3 => Ask::Row(random.below(ROWS as u64) as i64),
            4..=5 => Ask::Group(random.below(GROUPS as u64) as i64),
            6 => Ask::Below(random.below(ROWS as u64) as i64),
            _ => Ask::All,
        };
        let floors: [u64; ROWS] = std::array::from_fn(|id| self.acknowledged[id].load(Ordering::SeqCst));
        let key = ask.key();
        if !held.is_empty() && random.below(2) == 0 {
            let (body, kept) = &held[random.below(held.len() as u64) as usize];
            return match self.cache.age_of(kept, Instant::now()) {
                Some(_) => is_fresh("what was held on to", body, &floors),
                None => Ok(()),
            };
        }
        if let Some((hit, kept)) = self.cache.at_hand(&key, 0) {
            if held.len() == HELD {
                held.swap_remove(random.below(HELD as u64) as usize);
            }
            held.push((hit.body.clone(), kept));
            return is_fresh("an answer at hand", &hit.body, &floors);
        }
        let (body, whence) = match self.cache.look_up(&key, 0) {
            Lookup::Bypass(_) => return Ok(()),
            Lookup::Hit(hit) => (hit.body, "a hit"),
            Lookup::Miss => match self.cache.join(&key, 0) {
                Flight::Lead(lead) => {
                    let pending = self.cache.begin_fill(&key, 0, ask.footprint());
                    let (body, fence) = self.answer(ask, random);
                    if random.below(50) == 0 {
                        // The leader's client went away.
                        return Ok(());
                    }
                    let ttl = (random.below(10) == 0).then(|| Duration::from_micros(500));
                    let (hit, _) = self.cache.finish_fill(pending, body, 0, None, &fence, ttl);
                    lead.succeed(hit.clone());
                    (hit.body, "a fill")
                }
                Flight::Follow(follow) => match follow.wait().await {
                    Some(Ok(hit)) => (hit.body, "another's fill"),
                    _ => return Ok(()),
                },
            },
        };
        is_fresh(whence, &body, &floors)
    }
}

/// So many answers does a reader hold on to.
const HELD: usize = 8;

fn is_fresh(whence: &str, body: &[u8], floors: &[u64; ROWS]) -> Result<(), String> {
    let text = String::from_utf8_lossy(body);
    for pair in text.split_whitespace() {
        let (id, version) = pair.split_once(':').unwrap();
        let (id, version): (usize, u64) = (id.parse().unwrap(), version.parse().unwrap());
        if version < floors[id] {
            let floor = floors[id];
            return Err(format!(
                "{whence} has version {version} of row {id}, {floor} was acknowledged"
            ));
        }
    }
    Ok(())
}

/// Runs everything at once for a while; what it found, and the counts.
fn run(snapshots: bool, time: Duration, enough: impl Fn(&Stats) -> bool) -> (Vec<String>, Stats) {
    let config = Config {
        memory_bytes: 24 << 10,
        ring: 6,
        ..Config::default()
    };
    let simulated = Simulated::new(config, snapshots);
    let stop = AtomicBool::new(false);
    let found = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for seed in 0..if snapshots { 2 } else { 1 } {
            let (simulated, stop) = (&simulated, &stop);
            scope.spawn(move || {
                let mut random = Random(0x9e37_79b9 + seed);
                while !stop.load(Ordering::Relaxed) {
                    simulated.write(&mut random);
                    std::thread::park_timeout(Duration::from_micros(random.below(200)));
                }
            });
        }
        for seed in 0..4 {
            let (simulated, stop, found) = (&simulated, &stop, &found);
            scope.spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
                let (mut random, mut held) = (Random(0x1234_5678 + seed), Vec::new());
                while !stop.load(Ordering::Relaxed) {
                    if let Err(stale) = runtime.block_on(simulated.read(&mut random, &mut held)) {
                        found.lock().unwrap().push(stale);
                    }
                }
            });
        }
        let began = Instant::now();
        while began.elapsed() < time || !enough(&simulated.cache.stats()) && began.elapsed() < 8 * time {
            std::thread::park_timeout(Duration::from_millis(20));
            if !found.lock().unwrap().is_empty() {
                break;
            }
        }
        stop.store(true, Ordering::Relaxed);
    });
    let stats = simulated.cache.stats();
    (found.into_inner().unwrap(), stats)
}

/// Failpoints are the whole process's: the tests take turns.
static TURN: Mutex<()> = Mutex::new(());

#[test]
fn no_hit_is_older_than_an_acknowledgement() {
    let _turn = TURN.lock().unwrap_or_else(|e| e.into_inner());
    let everything = |s: &Stats| {
        let all = [s.hits, s.fills, s.fenced, s.dropped, s.voided, s.evicted, s.expired];
        all.iter().all(|n| *n > 20)
    };
    for snapshots in [false, true] {
        let (found, stats) = run(snapshots, Duration::from_secs(4), everything);
        assert_eq!(found, Vec::<String>::new(), "snapshots: {snapshots}, {stats:?}");
        assert!(everything(&stats), "too little happened: {stats:?}");
        println!("snapshots: {snapshots}, {stats:?}");
    }
}

#[cfg(feature = "failpoints")]
#[test]
fn a_missing_fence_is_found() {
    let _turn = TURN.lock().unwrap_or_else(|e| e.into_inner());
    for name in ["no-fence", "ignore-before-images", "forget-kept"] {
        failpoint::set(name, true);
        let (found, stats) = run(false, Duration::from_secs(10), |_| true);
        failpoint::set(name, false);
        assert!(!found.is_empty(), "{name} went unnoticed: {stats:?}");
        println!("{name}: {}", found[0]);
    }
}
