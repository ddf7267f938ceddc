//! Probe.
#[test]
fn probe() {
    let c = rusqlite::Connection::open_in_memory().unwrap();
    c.execute_batch("create table a(id integer primary key, n int); create table b(id integer primary key, a_id int); insert into b values (7,1),(8,1)").unwrap();
    for q in ["insert into a as t (id,n) values (1,2) returning t.id", "insert into a as t (id,n) values (2,2) returning a.id",
        "update a as t0 set n = 3 returning t0.id", "update a as t0 set n = 3 returning a.id", "delete from a as t0 where id=2 returning t0.id",
        "insert into a as t (id,n) values (5,2) returning (select count(*) from b where b.a_id = t.id)",
        "update a as t0 set n = 3 where id = 1 returning (select count(*) from b as x where x.a_id = a.id)",
        "update a as t0 set n = 3 where id = 1 returning (select count(*) from b as x where x.a_id = t0.id)",
        "update a as t0 set n = 3 from b where b.a_id = t0.id returning t0.id, a.n",
        "select count(*) from (select group_concat(distinct n order by n) from a)",
        "select json_array(0.1, 1e300, 0.30000000000000004)",
        "select u.id, x.value from a u left join json_each(json_array(u.id, u.n)) x on x.value > 1",
        "select u.id, (select group_concat(x.c) from (select b.id as c from b where b.a_id = u.id limit 5) x) from a u",
        "with w(c) as (select 1) select u.id, (with v(d) as (select b.id from b where b.a_id = u.id) select max(d) from v) from a u",
        "select 1 limit coalesce(null,-1)",
        ] {
        let r = c.prepare(q).and_then(|mut s| { let n = s.column_count(); let mut rows = s.raw_query(); let mut out = vec![]; while let Some(r) = rows.next()? { out.push((0..n).map(|i| format!("{:?}", r.get_ref(i).unwrap())).collect::<Vec<_>>().join("|")); } Ok(out) });
        println!("{q}\n   {r:?}");
    }
}
