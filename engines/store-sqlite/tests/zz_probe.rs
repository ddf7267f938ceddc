//! Probe.
use mainstay_schema::Source;
use mainstay_sql::sqlite;
use mainstay_store_sqlite::functions;
#[test]
fn probe() {
    let files = std::env::var("PROBE").unwrap();
    let sources: Vec<Source> = files
        .split(',')
        .map(|f| Source {
            file: f.into(),
            text: std::fs::read_to_string(f).unwrap(),
            store: "main".into(),
            service: None,
        })
        .collect();
    let t = std::time::Instant::now();
    let reading = mainstay_schema::read_with(
        &sources,
        &mainstay_schema::Options {
            auth: Some("main".into()),
            ..Default::default()
        },
    );
    println!(
        "read {:?}, {} relations, {} functions",
        t.elapsed(),
        reading.schema.relations.len(),
        reading.schema.functions.len()
    );
    for p in &reading.problems {
        println!("{:?} {}:{} {}", p.severity, p.span.line, p.span.column, p.message);
    }
    let c = rusqlite::Connection::open_in_memory().unwrap();
    functions::register(&c).unwrap();
    c.execute_batch(&sqlite::meta_tables().join(";")).unwrap();
    for id in 0..reading.schema.relations.len() as u32 {
        let id = mainstay_model::RelationId(id);
        let r = reading.schema.relation(id);
        if r.table().is_none() {
            if let Some(v) = r.view() {
                match sqlite::compile_statement(
                    &reading.schema,
                    &mainstay_model::Statement::Select(Box::new((*v.select).clone())),
                ) {
                    Ok(p) => {
                        if let Err(e) = c.prepare(&p.run.sql) {
                            println!("VIEW {} {e}\n{}", r.name, p.run.sql)
                        }
                    }
                    Err(e) => println!("VIEW {} {e}", r.name),
                }
            }
            continue;
        }
        match sqlite::create_table(&reading.schema, id) {
            Ok(list) => {
                for s in list {
                    if let Err(e) = c.execute_batch(&s) {
                        println!("TABLE {} {e}\n{s}", r.name)
                    }
                }
            }
            Err(e) => println!("TABLE {} {e}", r.name),
        }
        for p in &r.table().unwrap().policies {
            for e in [&p.using, &p.check].into_iter().flatten() {
                let rel = mainstay_model::RelationRef {
                    relation: id,
                    expansion: None,
                    security: Some(std::sync::Arc::new(e.clone())),
                };
                match sqlite::compile_delete(&reading.schema, &rel, None, &[], None, 0) {
                    Ok(plan) => {
                        if let Err(e) = c.prepare(&plan.delete.sql) {
                            println!("POLICY {} {e}\n{}", p.name, plan.delete.sql)
                        } else if std::env::var("SHOW").is_ok() {
                            println!("{}", plan.delete.sql)
                        }
                    }
                    Err(e) => println!("POLICY {} {e}", p.name),
                }
            }
        }
        let cols: Vec<u32> = vec![];
        match sqlite::compile_insert(
            &reading.schema,
            &mainstay_model::RelationRef::new(id),
            &cols,
            &[],
            None,
            None,
            None,
        ) {
            Ok(plan) => {
                if let Err(e) = c.prepare(&plan.insert.sql) {
                    println!("INSERT {} {e}\n{}", r.name, plan.insert.sql)
                }
            }
            Err(e) => println!("INSERT {} {e}", r.name),
        }
    }
    for f in &reading.schema.functions {
        for s in &f.body {
            match sqlite::compile_statement(&reading.schema, s) {
                Ok(p) => {
                    if let Err(e) = c.prepare(&p.run.sql) {
                        println!("FUNCTION {} {e}\n{}", f.name, p.run.sql)
                    } else if std::env::var("SHOW").is_ok() {
                        println!("{}: {}", f.name, p.run.sql)
                    }
                }
                Err(e) => println!("FUNCTION {} {e}", f.name),
            }
        }
    }
}
