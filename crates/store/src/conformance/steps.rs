//! Transactions of several steps: all or nothing, steps that refer to earlier ones, repeated requests, dry runs.

use super::world::*;
use super::{Case, World};
use mainstay_model::*;

pub(super) const CASES: &[Case] = &[
    ("transactions: all or nothing", |w| Box::pin(all_or_nothing(w))),
    ("transactions: a step refers to an earlier one", |w| {
        Box::pin(earlier(w))
    }),
    ("transactions: parameters come from rows of earlier steps", |w| {
        Box::pin(earlier_params(w))
    }),
    ("transactions: a read sees the steps before it", |w| Box::pin(reads(w))),
    ("transactions: a repeated request gets its answer again", |w| {
        Box::pin(idempotency(w))
    }),
    ("transactions: an event is consumed once", |w| Box::pin(consumed(w))),
    ("transactions: a dry run leaves nothing", |w| Box::pin(dry_run(w))),
];

fn steps(steps: Vec<Step>) -> Transaction {
    Transaction {
        steps,
        ..Transaction::default()
    }
}

async fn all_or_nothing(w: &World) {
    let error = w
        .transact(steps(vec![
            w.insert(AUTHORS, &["id", "name"], vec![vec![Value::Int(1), text("Ann")]]),
            w.insert(AUTHORS, &["id", "name"], vec![vec![Value::Int(2), Value::Null]]),
        ]))
        .await
        .unwrap_err();
    assert_eq!(error.code, "23502");
    assert_eq!(error.outcome, Outcome::None);
    assert_eq!(error.step, Some(1), "the error says which step failed");
    assert_eq!(w.table(AUTHORS, &["id"]).await, "[]");
    let committed = w
        .transact(steps(vec![
            w.insert(AUTHORS, &["id", "name"], vec![vec![Value::Int(1), text("Ann")]]),
            w.update(AUTHORS, &[("name", text("Bob"))], None),
        ]))
        .await
        .unwrap();
    assert_eq!(
        committed.outcomes.iter().map(|o| o.affected).collect::<Vec<_>>(),
        [1, 1]
    );
    assert_eq!(w.table(AUTHORS, &["name"]).await, r#"[{"name":"Bob"}]"#);
}

async fn earlier(w: &World) {
    let mut book = w.insert(
        BOOKS,
        &["id", "author_id", "title"],
        vec![vec![Value::Int(1), Value::Null, text("Air")]],
    );
    if let Action::Insert { rows, .. } = &mut book.action {
        rows[0][1] = Cell::Earlier(0, 1, 0);
    }
    let authors = || w.insert(AUTHORS, &["name"], vec![vec![text("Ann")], vec![text("Bob")]]);
    w.transact(steps(vec![authors(), book.clone()])).await.unwrap();
    assert_eq!(w.table(BOOKS, &["author_id"]).await, r#"[{"author_id":2}]"#);
    if let Action::Insert { rows, .. } = &mut book.action {
        rows[0][1] = Cell::Earlier(0, 2, 0);
    }
    let error = w
        .transact(steps(vec![w.delete(AUTHORS, None), book]))
        .await
        .unwrap_err();
    assert_eq!(error.code, "22023");
    assert_eq!(w.table(AUTHORS, &["id"]).await, r#"[{"id":1},{"id":2}]"#);
}

async fn earlier_params(w: &World) {
    // Of a read the columns are those it gives back, not those of its relation.
    let read = Step {
        returning: Some(QueryShape {
            filter: Some(Expr::compare(
                Operator::Eq,
                Expr::column(1, Type::Text),
                Expr::literal(text("Bob"), Type::Text),
            )),
            ..w.query(AUTHORS, &["name", "id"])
        }),
        ..Step::new(Action::Read)
    };
    let id = || {
        Some(Expr::compare(
            Operator::Eq,
            Expr::column(0, Type::Int8),
            Expr::param(0, Type::Int8),
        ))
    };
    let taken = |step, row, column, action: Step| Step {
        params: vec![Value::Null],
        earlier: vec![Earlier {
            param: 0,
            step,
            row,
            column,
        }],
        ..action
    };
    let authors = w.insert(
        AUTHORS,
        &["name"],
        vec![vec![text("Ann")], vec![text("Bob")], vec![text("Cyd")]],
    );
    let renamed = w.update(AUTHORS, &[("name", text("Bea"))], id());
    let committed = w
        .transact(steps(vec![
            authors,
            read.clone(),
            taken(1, 0, 1, renamed),
            taken(0, 2, 0, w.delete(AUTHORS, id())),
        ]))
        .await
        .unwrap();
    assert_eq!((committed.outcomes[2].affected, committed.outcomes[3].affected), (1, 1));
    assert_eq!(
        w.table(AUTHORS, &["id", "name"]).await,
        r#"[{"id":1,"name":"Ann"},{"id":2,"name":"Bea"}]"#
    );
    // The read finds nobody now.
    let error = w
        .transact(steps(vec![read, taken(0, 0, 1, w.delete(AUTHORS, id()))]))
        .await
        .unwrap_err();
    assert_eq!((&*error.code, error.step), ("22023", Some(1)));
}

async fn reads(w: &World) {
    let read = Step {
        returning: Some(w.query(AUTHORS, &["name"])),
        ..Step::new(Action::Read)
    };
    let insert = w.insert(AUTHORS, &["name"], vec![vec![text("Ann")]]);
    let committed = w.transact(steps(vec![read.clone(), insert, read])).await.unwrap();
    let body = |step: usize| String::from_utf8_lossy(&committed.outcomes[step].body).into_owned();
    assert_eq!((body(0), body(2)), ("[]".to_owned(), r#"[{"name":"Ann"}]"#.to_owned()));
}

async fn idempotency(w: &World) {
    let request = |name: &str, fingerprint: u8| Transaction {
        steps: vec![Step {
            returning: Some(w.query(AUTHORS, &["id", "name"])),
            ..w.insert(AUTHORS, &["name"], vec![vec![text(name)]])
        }],
        idempotency: Some(Idempotency {
            scope: [7; 32],
            fingerprint: [fingerprint; 32],
        }),
        ..Transaction::default()
    };
    let first = w.transact(request("Ann", 1)).await.unwrap();
    assert!(!first.replayed);
    let again = w.transact(request("Ann", 1)).await.unwrap();
    assert!(again.replayed);
    assert_eq!(again.outcomes, first.outcomes);
    assert!(again.position >= first.position);
    let error = w.transact(request("Bob", 2)).await.unwrap_err();
    assert_eq!(error.status, Some(422));
    assert_eq!(w.table(AUTHORS, &["name"]).await, r#"[{"name":"Ann"}]"#);
    // A request that failed may be repeated and do it then.
    let failing = |name: Value| Transaction {
        idempotency: Some(Idempotency {
            scope: [8; 32],
            fingerprint: [1; 32],
        }),
        ..steps(vec![w.insert(AUTHORS, &["name"], vec![vec![name]])])
    };
    w.transact(failing(Value::Null)).await.unwrap_err();
    assert!(!w.transact(failing(text("Cyd"))).await.unwrap().replayed);
    // Many at once: one does it, all get its answer.
    let many = || Transaction {
        idempotency: Some(Idempotency {
            scope: [9; 32],
            fingerprint: [1; 32],
        }),
        ..request("Dee", 1)
    };
    let answers = all((0..20)
        .map(|_| Box::pin(w.transact(many())) as crate::BoxFuture<'_, Result<Committed>>)
        .collect())
    .await;
    let answers: Vec<Committed> = answers.into_iter().map(|a| a.unwrap()).collect();
    assert_eq!(answers.iter().filter(|a| !a.replayed).count(), 1);
    assert!(answers.iter().all(|a| a.outcomes == answers[0].outcomes));
}

async fn consumed(w: &World) {
    let effect = |consumer: &str, event: &str, name: &str| Transaction {
        consumed: vec![Consumed {
            consumer: consumer.into(),
            event: event.into(),
        }],
        ..steps(vec![w.insert(AUTHORS, &["name"], vec![vec![text(name)]])])
    };
    assert!(!w.transact(effect("mail", "e1", "Ann")).await.unwrap().replayed);
    assert!(w.transact(effect("mail", "e1", "Bob")).await.unwrap().replayed);
    assert!(!w.transact(effect("profile", "e1", "Cyd")).await.unwrap().replayed);
    // An effect that failed leaves no note.
    w.transact(effect("mail", "e2", "Ann")).await.unwrap_err();
    assert!(!w.transact(effect("mail", "e2", "Dee")).await.unwrap().replayed);
    assert_eq!(
        w.table(AUTHORS, &["name"]).await,
        r#"[{"name":"Ann"},{"name":"Cyd"},{"name":"Dee"}]"#
    );
}

async fn dry_run(w: &World) {
    let listener = std::sync::Arc::new(Recorder::default());
    w.store.listen(listener.clone());
    let transaction = Transaction {
        dry_run: true,
        ..steps(vec![Step {
            returning: Some(w.query(AUTHORS, &["name"])),
            ..w.insert(AUTHORS, &["name"], vec![vec![text("Ann")]])
        }])
    };
    let committed = w.transact(transaction).await.unwrap();
    assert_eq!(&*committed.outcomes[0].body, br#"[{"name":"Ann"}]"#);
    assert_eq!(w.table(AUTHORS, &["name"]).await, "[]");
    assert!(listener.told().iter().all(|c| c.rows.is_empty()));
    assert!(w.outbox().await.is_empty());
}
