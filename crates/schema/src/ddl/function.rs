//! CREATE FUNCTION and ALTER FUNCTION. Bodies are bound later, once everything that they may name is known.

use super::Reader;
use crate::catalog::{DraftFunction, NewObject};
use crate::names::{Name, text};
use crate::source_text::SourceText;
use crate::types;
use mainstay_model::Schema;
use squawk_syntax::ast::{self, AstNode};

impl Reader {
    pub(super) fn create_function(&mut self, statement: &ast::CreateFunction) {
        let (Some(written), Some(params)) = (statement.name(), statement.param_list()) else {
            return;
        };
        let Some(name) = Name::of(&written) else { return };
        let at = written.syntax().clone();
        let namespace = self.creation_namespace(&name, &at);
        let signature = signature_of(&params);
        let full = Name {
            namespace: Some(namespace.clone()),
            name: name.name.clone(),
        };
        let existing = self
            .catalog
            .functions_named(&full, Some(&signature), &[])
            .first()
            .copied();
        let options: Vec<ast::FuncOption> = statement.option_list().into_iter().flat_map(|l| l.options()).collect();
        let draft = DraftFunction {
            namespace: namespace.clone(),
            name: name.name.clone(),
            signature,
            place: self.place.clone(),
            span: self.span(&at),
            dropped: false,
            comment: None,
            params: Some(params),
            returns: statement.ret_type(),
            refused: self.refusal(statement, &options),
            options,
            body: statement.body(),
        };
        if let Some(reason) = &draft.refused {
            let message = format!("the function `{name}` is not served on an embedded store: {reason}");
            self.warning(&at, message, "write it in LANGUAGE SQL, or leave it to Postgres");
        }
        if let Some(existing) = existing {
            if statement.or_replace().is_none() {
                let other = &self.catalog.functions[existing].span;
                let message = format!(
                    "the function `{name}` is declared twice: here and at {}:{}:{}",
                    other.file, other.line, other.column
                );
                return self.error(
                    &at,
                    message,
                    "names of functions are unique in a project: rename one, or give it other arguments",
                );
            }
            let comment = self.catalog.functions[existing].comment.take();
            self.catalog.functions[existing] = DraftFunction { comment, ..draft };
            return;
        }
        let service = self.catalog.files[self.place.file].service.clone();
        let elsewhere = self.catalog.functions.iter().find(|f| {
            !f.dropped
                && f.name == name.name
                && f.namespace == namespace
                && self.catalog.files[f.place.file].service != service
        });
        if let Some(other) = elsewhere {
            let other = &other.span;
            let message = format!(
                "the function `{name}` is declared by two services: here and at {}:{}:{}",
                other.file, other.line, other.column
            );
            return self.error(
                &at,
                message,
                "names of functions are unique in a project: rename one of them",
            );
        }
        let index = self.catalog.functions.len();
        self.catalog.functions.push(draft);
        self.catalog
            .apply_default_grants(&namespace, NewObject::Function(index));
    }

    /// Why a function runs inside Postgres only, if it does.
    fn refusal(&self, statement: &ast::CreateFunction, options: &[ast::FuncOption]) -> Option<String> {
        let language = language_of(options);
        match (language.as_deref(), statement.body()) {
            (Some("sql"), _) | (None, Some(_)) => {}
            (Some(language), _) => return Some(format!("LANGUAGE {language} runs inside Postgres only")),
            (None, None) => return Some("it names no language".into()),
        }
        if options
            .iter()
            .any(|o| matches!(o, ast::FuncOption::WindowFuncOption(_)))
        {
            return Some("window functions run inside Postgres only".into());
        }
        let returns = statement
            .ret_type()
            .map(|r| r.syntax().text().to_string().to_ascii_lowercase())
            .unwrap_or_default();
        if returns.ends_with("trigger") {
            return Some("triggers run inside Postgres only".into());
        }
        None
    }

    pub(super) fn alter_function(&mut self, statement: &ast::AlterFunction) {
        let (Some(sig), Some(action)) = (statement.function_sig(), statement.action()) else {
            return;
        };
        if matches!(action, ast::AlterFunctionAction::OwnerTo(_)) {
            return;
        }
        let Some(name) = sig.function_name_ref().and_then(|n| Name::of(&n)) else {
            return;
        };
        let signature = sig.param_list().map(|p| signature_of(&p));
        let Some(found) = self.functions_or_problem(&name, signature.as_deref(), sig.syntax()) else {
            return;
        };
        for function in found {
            let draft = &mut self.catalog.functions[function];
            match &action {
                ast::AlterFunctionAction::FuncOptionList(list) => draft.options.extend(list.options()),
                ast::AlterFunctionAction::FunctionRenameTo(rename) => {
                    if let Some(new) = rename.function_name().and_then(|n| Name::of(&n)) {
                        draft.name = new.name;
                    }
                }
                ast::AlterFunctionAction::SetSchema(set) => {
                    if let Some(schema) = set.schema_ref() {
                        draft.namespace = text(&schema);
                    }
                }
                _ => {}
            }
        }
    }
}

/// The language of a function, folded as Postgres does.
pub(crate) fn language_of(options: &[ast::FuncOption]) -> Option<String> {
    options.iter().rev().find_map(|o| match o {
        ast::FuncOption::LanguageFuncOption(language) => language.language_name().map(|l| l.name.to_ascii_lowercase()),
        _ => None,
    })
}

/// Types of the arguments that identify a function, in one spelling for all synonyms.
pub(crate) fn signature_of(params: &ast::ParamList) -> Vec<String> {
    let inputs = params
        .params()
        .filter(|p| !matches!(p.mode(), Some(ast::ParamMode::ParamOut(_))));
    inputs
        .map(|p| p.func_type().map(|t| type_text(&t)).unwrap_or_default())
        .collect()
}

fn type_text(ty: &ast::FuncType) -> String {
    let ast::FuncType::Type(ty) = ty else {
        return ty.syntax().text().to_string();
    };
    let nowhere = SourceText::new("".into(), "");
    // Built-in types by their own names; others by the last part of theirs, because the schema may be written or not.
    if let Ok((resolved, _)) = types::resolve(ty, &Schema::default(), &nowhere) {
        let shown = resolved.to_string();
        let bare = shown.split('(').next().unwrap_or_default();
        let bare = if shown.ends_with("[]") && !bare.ends_with("[]") {
            format!("{bare}[]")
        } else {
            bare.to_owned()
        };
        return bare.rsplit('.').next().unwrap_or_default().to_owned();
    }
    match ty {
        ast::Type::ArrayType(array) => match array.ty() {
            Some(element) => format!("{}[]", type_text(&ast::FuncType::Type(element))),
            None => String::new(),
        },
        ast::Type::PathType(path) => path
            .path_ref()
            .and_then(|p| Name::from_ref(&p))
            .map(|n| n.name.to_string())
            .unwrap_or_default(),
        other => other.syntax().text().to_string(),
    }
}
