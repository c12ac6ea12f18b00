use super::*;
use crate::store::ledger::Opaque;

/// What somebody does to the records of a file.
type Hand = fn(&mut Vec<Vec<u8>>);

#[test]
fn what_hands_do_to_staged_entries_is_named() {
    let hands: [(&str, Hand, &[&str]); 10] = [
        ("nothing", |_| (), &["a", "b", "c", "d"]),
        ("cut", |records| drop(records.drain(1..3)), &["2 missing", "a", "d"]),
        ("cut in front", |records| drop(records.remove(0)), &["1 missing", "b", "c", "d"]),
        ("altered", |records| *records[1].last_mut().unwrap() ^= 1, &["1 missing", "a", "c", "d"]),
        ("altered behind", |records| *records[3].last_mut().unwrap() ^= 1, &["a", "b", "c", "70 unread"]),
        ("a length too long", |records| records[1][3] ^= 1, &["1 missing", "a", "c", "d"]),
        ("a length far too long", |records| records[0][0] ^= 1, &["1 missing", "b", "c", "d"]),
        ("a length too short", |records| records[1][3] = 1, &["1 missing", "a", "c", "d"]),
        ("a length behind", |records| records[3][2] ^= 1, &["a", "b", "c", "70 unread"]),
        ("swapped", |records| records.swap(0, 2), &["a", "b", "c", "d"]),
    ];
    for (what, hand, left) in hands {
        let folder = tempfile::tempdir().unwrap();
        let tables = Tables::open(&folder.path().join("db"), 8).unwrap();
        let sealer = Arc::new(Sealer::new(&[7; 32]).unwrap());
        let mut records: Vec<_> = (1..)
            .zip(["a", "b", "c", "d"])
            .map(|(number, text)| {
                let entry = Entry { time: Micros(number), bytes: text.as_bytes().into() };
                let number = u64::try_from(number).unwrap();
                staged::seal(&sealer, TenantId(3), number, std::iter::once(&entry)).unwrap()
            })
            .collect();
        hand(&mut records);
        std::fs::write(path(folder.path(), 0), records.concat()).unwrap();
        let staging = Staging::open(folder.path(), &tables, sealer, &Opaque).unwrap();
        let waiting = staging.take().entries;
        let texts: Vec<_> = waiting.iter().map(|own| String::from_utf8_lossy(&own.entry.bytes)).collect();
        assert_eq!(texts, left, "{what}");
    }
}

#[test]
fn what_a_fold_writes_for_others_is_synced_too() {
    let folder = tempfile::tempdir().unwrap();
    let tables = Tables::open(&folder.path().join("db"), 8).unwrap();
    let sealer = Arc::new(Sealer::new(&[7; 32]).unwrap());
    let staging = Arc::new(Staging::open(folder.path(), &tables, sealer, &Opaque).unwrap());
    let syncing = Arc::clone(&staging);
    let thread = std::thread::spawn(move || {
        while syncing.wait_to_sync(Duration::from_millis(1)) {
            syncing.sync().unwrap();
        }
    });
    for round in 0..50 {
        let entry = Entry { time: Micros(round), bytes: b"entry".as_slice().into() };
        let ticket = staging.gather(TenantId::DEFAULT, entry).unwrap();
        staging.folded(staging.take().ticket).unwrap();
        assert_eq!(staging.write_through(ticket).unwrap(), ticket);
        let began = Instant::now();
        while staging.lock().unsynced.is_some() {
            assert!(began.elapsed() < Duration::from_secs(5), "nobody syncs, round {round}");
            std::thread::yield_now();
        }
    }
    staging.end();
    thread.join().unwrap();
}

#[test]
fn who_records_more_than_is_folded_waits_for_room_and_is_refused_only_then() {
    let folder = tempfile::tempdir().unwrap();
    let tables = Tables::open(&folder.path().join("db"), 8).unwrap();
    let sealer = Arc::new(Sealer::new(&[7; 32]).unwrap());
    let staging = Arc::new(Staging::open(folder.path(), &tables, sealer, &Opaque).unwrap());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let entry = || Entry { time: Micros(1), bytes: b"entry".as_slice().into() };
    let add = || runtime.block_on(Staging::add(Arc::clone(&staging), TenantId::DEFAULT, entry()));
    let fill = || {
        let one = || Staged { tenant: TenantId::DEFAULT, entry: entry(), row: None };
        staging.add_rows(std::iter::repeat_with(one).take(MOST_WAITING).collect());
    };
    assert_eq!(add().unwrap(), 1, "there is room");
    staging.folded(staging.take().ticket).unwrap();

    fill();
    let began = Instant::now();
    assert!(matches!(add(), Err(StoreError::Closed(_))), "nobody folds");
    assert!(began.elapsed() >= LONGEST_WAIT, "{:?}", began.elapsed());

    let (folding, began) = (Arc::clone(&staging), Instant::now());
    let thread = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(200));
        folding.take()
    });
    assert_eq!(add().unwrap(), 2, "it waits until there is room");
    assert!(began.elapsed() >= Duration::from_millis(200));
    assert!(thread.join().unwrap().entries.len() >= MOST_WAITING);
    staging.end();
}

#[test]
fn what_threads_record_at_once_is_written_once_each_and_numbered_without_a_gap() {
    const THREADS: i64 = 4;
    const EACH: i64 = 300;
    let folder = tempfile::tempdir().unwrap();
    let tables = Tables::open(&folder.path().join("db"), 8).unwrap();
    let sealer = Arc::new(Sealer::new(&[7; 32]).unwrap());
    let staging = Arc::new(Staging::open(folder.path(), &tables, sealer, &Opaque).unwrap());
    let recording = |thread: i64| {
        let staging = Arc::clone(&staging);
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        move || {
            let add = |n: i64| {
                let entry = Entry { time: Micros(thread * EACH + n), bytes: [7; 40].into() };
                Staging::add(Arc::clone(&staging), TenantId(u32::try_from(n % 3).unwrap()), entry)
            };
            let all = runtime.block_on(futures_util::future::join_all((0..EACH).map(add)));
            all.into_iter().collect::<StoreResult<Vec<u64>>>().unwrap()
        }
    };
    let threads: Vec<_> = (0..THREADS).map(|thread| std::thread::spawn(recording(thread))).collect();
    let mut taken = Vec::new();
    while threads.iter().any(|thread| !thread.is_finished()) {
        let unfolded = staging.take();
        assert_eq!(unfolded.number, u64::try_from(taken.len() + unfolded.entries.len()).unwrap());
        taken.extend(unfolded.entries);
        staging.folded(unfolded.ticket).unwrap();
    }
    let mut tickets: Vec<u64> = threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect();
    tickets.sort_unstable();
    assert!(tickets.iter().copied().eq(1..=u64::try_from(THREADS * EACH).unwrap()));
    taken.extend(staging.take().entries);
    let mut times: Vec<i64> = taken.iter().map(|staged| staged.entry.time.0).collect();
    times.sort_unstable();
    assert!(times.into_iter().eq(0..THREADS * EACH));
}
