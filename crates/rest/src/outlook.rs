//! What would come of a request, for those who run the server: what it does, who would do it and how, without its being done.

use crate::data::Data;
use crate::planned::Plan;
use crate::{Rest, Route, error, facts};
use bytes::Bytes;
use http::{Method, Request, StatusCode};
use mainstay_model::{Action, Error, Identity, QueryShape, Schema, Source};
use mainstay_query::{Asked, Engine, Explain, Explanation, Outlook};
use std::sync::Arc;

/// What would come of a request.
#[derive(Debug)]
pub struct Explained {
    /// What it does, in words.
    pub does: String,
    /// Who does it and how; of what needs no store nothing.
    pub work: Option<(Outlook, Result<Explanation, Error>)>,
}

/// A request that is refused.
#[derive(Debug)]
pub struct Refused {
    /// The status that its answer has.
    pub status: StatusCode,
    /// Why.
    pub error: Error,
}

impl Rest<Engine> {
    /// Tells of a request. The caller's `Arc<Identity>` is an extension of it, as for [`Rest::handle`]. With `analyze` it is done, by
    /// stores that measure, in a transaction that is undone.
    pub async fn explained(&self, mut request: Request<Bytes>, wanted: Explain) -> Result<Explained, Refused> {
        let identity = match request.extensions_mut().remove::<Arc<Identity>>() {
            Some(identity) => identity,
            None => Arc::new(Identity::role(&self.config.anon)),
        };
        let identity = match self.wants_requests {
            true => Arc::new(identity.asking(Arc::new(facts::of(&request)))),
            false => identity,
        };
        let explained = self.explained_to(&request, &identity, wanted).await;
        explained.map_err(|error| Refused {
            status: error::status(&error, self.config.is_anonymous(&identity.role)),
            error,
        })
    }

    async fn explained_to(
        &self,
        request: &Request<Bytes>,
        identity: &Identity,
        wanted: Explain,
    ) -> Result<Explained, Error> {
        let schema = Data::schema(&self.data);
        let route = Route::read(request.uri().path())?;
        let without_work = |does: &str| {
            Ok(Explained {
                does: does.to_owned(),
                work: None,
            })
        };
        match (&route, request.method()) {
            (_, &Method::OPTIONS) => return without_work("says which methods there are"),
            (Route::Root, &Method::POST) => return without_work("does a transaction; ask for each of its operations"),
            (Route::Root, _) => return without_work("describes the API"),
            _ => {}
        }
        match self.plan(&schema, request, &route, identity, None).await? {
            Plan::Read(prepared, _) | Plan::Reading(prepared, _) => {
                let (query, form) = (&prepared.query, &*prepared.representation);
                let options = prepared.options(request.headers(), Asked::default());
                let outlook = self.data.outlook_of_read(query, identity, form, options)?;
                let explanation = self.data.explain_read(query, identity, form, wanted).await;
                Ok(Explained {
                    does: reads(&schema, &query.shape),
                    work: Some((outlook, explanation)),
                })
            }
            Plan::Write(planned) => {
                let Some(transaction) = planned.alone(request.headers(), true) else {
                    return without_work("does nothing: the body has no rows");
                };
                let does = transaction.steps.first().map(|step| writes(&schema, &step.action));
                let outlook = self.data.outlook_of_write(transaction.clone(), identity)?;
                let form = &planned.representation;
                let explanation = self.data.explain_write(transaction, identity, form, wanted).await;
                Ok(Explained {
                    does: does.unwrap_or_default(),
                    work: Some((outlook, explanation)),
                })
            }
        }
    }
}

fn reads(schema: &Schema, shape: &QueryShape) -> String {
    match &shape.from {
        Source::Relation(relation) => format!("reads {}", relation_name(schema, relation.relation)),
        Source::Call(call) => format!("calls {}, which only reads", function_name(schema, call.function)),
    }
}

fn writes(schema: &Schema, action: &Action) -> String {
    match action {
        Action::Insert { relation, rows, .. } => {
            format!(
                "inserts {} rows into {}",
                rows.len(),
                relation_name(schema, relation.relation)
            )
        }
        Action::Update { relation, .. } => format!("updates {}", relation_name(schema, relation.relation)),
        Action::Delete { relation, .. } => format!("deletes from {}", relation_name(schema, relation.relation)),
        Action::Call(call) => format!("calls {}, which may write", function_name(schema, call.function)),
        Action::Read => "reads".to_owned(),
    }
}

fn relation_name(schema: &Schema, id: mainstay_model::RelationId) -> String {
    let relation = schema.relation(id);
    format!("{}.{}", relation.namespace, relation.name)
}

fn function_name(schema: &Schema, id: mainstay_model::FunctionId) -> String {
    let function = schema.function(id);
    format!("{}.{}()", function.namespace, function.name)
}
