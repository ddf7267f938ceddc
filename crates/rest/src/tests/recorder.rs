//! Data that remembers what it was asked, and requests to a dialect over it.

use super::fixture;
use crate::{Data, Rest, RestConfig};
use bytes::Bytes;
use http::{Method, Request, Response};
use mainstay_model::*;
use mainstay_query::{Asked, CacheVerdict, Explain, Explanation, Phases, ReadOptions, Reply};
use std::sync::{Arc, Mutex};

/// Remembers what it is asked, and answers with a given number of rows in the form asked for.
#[derive(Clone)]
pub struct Recorder(pub Arc<Inner>);

pub struct Inner {
    schema: Arc<Schema>,
    rows: u64,
    total: Option<u64>,
    pub fails: Option<Error>,
    pub inserted: u64,
    pub replayed: bool,
    read: Mutex<Vec<Query>>,
    written: Mutex<Vec<Transaction>>,
    pub options: Mutex<Vec<ReadOptions<'static>>>,
}

impl Recorder {
    pub fn new() -> Recorder {
        Recorder::with(1, None)
    }

    pub fn with(rows: u64, total: Option<u64>) -> Recorder {
        Recorder(Arc::new(Inner {
            schema: Arc::new(fixture::schema()),
            rows,
            total,
            fails: None,
            inserted: rows,
            replayed: false,
            read: Mutex::default(),
            written: Mutex::default(),
            options: Mutex::default(),
        }))
    }

    pub fn set(self, change: impl FnOnce(&mut Inner)) -> Recorder {
        let mut inner = Arc::into_inner(self.0).unwrap();
        change(&mut inner);
        Recorder(Arc::new(inner))
    }

    pub fn read(&self) -> Vec<Query> {
        self.0.read.lock().unwrap().clone()
    }

    pub fn written(&self) -> Vec<Transaction> {
        self.0.written.lock().unwrap().clone()
    }

    fn encode(&self, shape: &QueryShape, representation: &Arc<dyn Representation>) -> Bytes {
        let mut encoder = representation.encoder();
        for i in 0..self.0.rows {
            encoder.begin_row();
            for item in &shape.select {
                if let Item::Field(field) = item {
                    encoder.field(&field.name, &Type::Int4, ValueRef::Int(i as i64));
                }
            }
            encoder.end_row();
        }
        encoder.finish()
    }
}

impl Data for Recorder {
    fn schema(&self) -> Arc<Schema> {
        self.0.schema.clone()
    }

    async fn read(
        &self,
        query: &Query,
        _: &Identity,
        representation: &Arc<dyn Representation>,
        options: ReadOptions<'_>,
    ) -> Result<Reply> {
        self.0.read.lock().unwrap().push(query.clone());
        self.0.options.lock().unwrap().push(ReadOptions {
            asked: Asked::default(),
            ..options
        });
        if let Some(error) = &self.0.fails {
            return Err(error.clone());
        }
        let body = self.encode(&query.shape, representation);
        let tag = crate::condition::hash(&body);
        let (rows, total) = (self.0.rows, self.0.total);
        Ok(Reply {
            body,
            rows,
            total,
            tag,
            cache: CacheVerdict::Hit,
            age_s: 3,
            phases: Phases::default(),
            response: None,
        })
    }

    async fn explain(
        &self,
        query: &Query,
        _: &Identity,
        _: &Arc<dyn Representation>,
        _: Explain,
    ) -> Result<Explanation> {
        self.0.read.lock().unwrap().push(query.clone());
        Ok(plan("Seq Scan"))
    }

    async fn explain_write(
        &self,
        transaction: Transaction,
        _: &Identity,
        _: &Arc<dyn Representation>,
        _: Explain,
    ) -> Result<Explanation> {
        self.0.written.lock().unwrap().push(transaction);
        Ok(plan("Insert on films"))
    }

    fn wants_requests(&self) -> bool {
        false
    }

    async fn write(
        &self,
        transaction: Transaction,
        _: &Identity,
        representations: &[Arc<dyn Representation>],
        _: Asked<'_>,
    ) -> Result<Committed> {
        self.0.written.lock().unwrap().push(transaction.clone());
        if let Some(error) = &self.0.fails {
            return Err(error.clone());
        }
        let outcome = |(step, representation): (&Step, &Arc<dyn Representation>)| StepOutcome {
            affected: self.0.rows,
            inserted: self.0.inserted,
            body: step
                .returning
                .as_ref()
                .map(|shape| self.encode(shape, representation))
                .unwrap_or_default(),
            rows: self.0.rows,
            total: self.0.total,
            key: vec![(0, "4 2".to_owned())],
        };
        let outcomes = transaction.steps.iter().zip(representations).map(outcome).collect();
        Ok(Committed {
            outcomes,
            position: Position { store: 0, token: 1 },
            replayed: self.0.replayed,
            response: None,
        })
    }
}

fn plan(text: &str) -> Explanation {
    Explanation {
        statements: Vec::new(),
        plan: text.to_owned(),
    }
}

pub fn request(method: Method, path: &str, headers: &[(&str, &str)], body: &str) -> Request<Bytes> {
    let mut builder = Request::builder().method(method).uri(format!("/rest/v1/{path}"));
    for (name, value) in headers {
        builder = builder.header(*name, *value);
    }
    builder.body(Bytes::copy_from_slice(body.as_bytes())).unwrap()
}

pub fn send(recorder: &Recorder, role: &str, request: Request<Bytes>) -> Response<Bytes> {
    send_to(&Rest::new(recorder.clone(), RestConfig::default()), role, request)
}

pub fn send_to(rest: &Rest<Recorder>, role: &str, mut request: Request<Bytes>) -> Response<Bytes> {
    if role != "none" {
        request.extensions_mut().insert(Arc::new(Identity::role(role)));
    }
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(rest.handle(request))
}
