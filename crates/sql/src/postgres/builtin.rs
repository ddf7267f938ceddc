//! Built-in functions by the names that Postgres has for them.

use super::name::quote_literal;
use super::render::{Renderer, sequence_name};
use mainstay_model::{Builtin, Error, Expr, ExprKind, Result, Type, Value};

impl<'a> Renderer<'a> {
    /// A built-in function; `ty` is the result's type.
    pub fn builtin(&mut self, function: Builtin, args: &[Expr], ty: &Type) -> Result<String> {
        let first = args.first().map(|a| &a.ty);
        let name = match function {
            Builtin::CurrentDate => return Ok("CURRENT_DATE".to_owned()),
            Builtin::NextVal => return self.next_value(args),
            Builtin::Digest => return self.digest(args),
            Builtin::Position => {
                let [part, whole] = args else {
                    return Err(Error::internal("position takes two arguments"));
                };
                return Ok(format!("strpos({}, {})", self.expr(whole)?, self.expr(part)?));
            }
            // The keyword EXTRACT wants FROM; quoted it is a function like any other. It yields numeric, date_part a float.
            Builtin::DatePart if matches!(ty, Type::Float8) => "date_part",
            Builtin::DatePart => "pg_catalog.\"extract\"",
            Builtin::JsonArrayLength => json(first, "json_array_length", "jsonb_array_length"),
            Builtin::JsonTypeof => json(first, "json_typeof", "jsonb_typeof"),
            Builtin::JsonBuildArray => json(Some(ty), "json_build_array", "jsonb_build_array"),
            Builtin::JsonBuildObject => json(Some(ty), "json_build_object", "jsonb_build_object"),
            other => name(other),
        };
        Ok(format!("{name}({})", self.list(args)?))
    }

    fn next_value(&mut self, args: &[Expr]) -> Result<String> {
        match args {
            [
                Expr {
                    kind: ExprKind::Literal(Value::Text(key)),
                    ..
                },
            ] => {
                let name = sequence_name(self.schema, key);
                Ok(format!("nextval({}::regclass)", quote_literal(&name)))
            }
            args => Ok(format!("nextval({})", self.list(args)?)),
        }
    }

    /// The common hashes are the server's own; others need the extension `pgcrypto`.
    fn digest(&mut self, args: &[Expr]) -> Result<String> {
        let [value, algorithm] = args else {
            return Err(Error::internal("digest takes two arguments"));
        };
        let own = match &algorithm.kind {
            ExprKind::Literal(Value::Text(name)) => ["sha224", "sha256", "sha384", "sha512"]
                .into_iter()
                .find(|own| name.eq_ignore_ascii_case(own)),
            _ => None,
        };
        let sql = self.expr(value)?;
        Ok(match (own, &value.ty) {
            (Some(own), Type::Bytea) => format!("{own}({sql})"),
            (Some(own), _) => format!("{own}(convert_to({sql}, 'UTF8'))"),
            (None, _) => format!("digest({sql}, {})", self.expr(algorithm)?),
        })
    }
}

fn json(ty: Option<&Type>, json: &'static str, jsonb: &'static str) -> &'static str {
    match ty {
        Some(Type::Json) => json,
        _ => jsonb,
    }
}

fn name(function: Builtin) -> &'static str {
    match function {
        Builtin::Abs => "abs",
        Builtin::Age => "age",
        Builtin::ArrayAppend => "array_append",
        Builtin::ArrayLength => "array_length",
        Builtin::ArrayPosition => "array_position",
        Builtin::ArrayRemove => "array_remove",
        Builtin::ArrayToString => "array_to_string",
        Builtin::Btrim => "btrim",
        Builtin::Cardinality => "cardinality",
        Builtin::Ceil => "ceil",
        Builtin::CharLength => "char_length",
        Builtin::Chr => "chr",
        Builtin::Coalesce => "coalesce",
        Builtin::Concat => "concat",
        Builtin::ConcatWs => "concat_ws",
        Builtin::CurrentDate => "current_date",
        Builtin::CurrentSetting => "current_setting",
        Builtin::DatePart => "date_part",
        Builtin::DateTrunc => "date_trunc",
        Builtin::Decode => "decode",
        Builtin::Digest => "digest",
        Builtin::Emit => "emit",
        Builtin::Encode => "encode",
        Builtin::Exp => "exp",
        Builtin::Floor => "floor",
        Builtin::Format => "format",
        Builtin::GenRandomUuid => "gen_random_uuid",
        Builtin::Greatest => "greatest",
        Builtin::InitCap => "initcap",
        Builtin::JsonArrayLength => "jsonb_array_length",
        Builtin::JsonBuildArray => "jsonb_build_array",
        Builtin::JsonBuildObject => "jsonb_build_object",
        Builtin::JsonTypeof => "jsonb_typeof",
        Builtin::JsonbSet => "jsonb_set",
        Builtin::Least => "least",
        Builtin::Left => "\"left\"",
        Builtin::Length => "length",
        Builtin::Ln => "ln",
        Builtin::Log => "log",
        Builtin::Lower => "lower",
        Builtin::Lpad => "lpad",
        Builtin::Ltrim => "ltrim",
        Builtin::MakeInterval => "make_interval",
        Builtin::Md5 => "md5",
        Builtin::NextVal => "nextval",
        Builtin::Now => "now",
        Builtin::NullIf => "nullif",
        Builtin::OctetLength => "octet_length",
        Builtin::Position => "strpos",
        Builtin::Power => "power",
        Builtin::Random => "random",
        Builtin::RegexpReplace => "regexp_replace",
        Builtin::Repeat => "repeat",
        Builtin::Replace => "replace",
        Builtin::Reverse => "reverse",
        Builtin::Right => "\"right\"",
        Builtin::Round => "round",
        Builtin::RowToJson => "row_to_json",
        Builtin::Rpad => "rpad",
        Builtin::Rtrim => "rtrim",
        Builtin::Sign => "sign",
        Builtin::SplitPart => "split_part",
        Builtin::Sqrt => "sqrt",
        Builtin::StartsWith => "starts_with",
        Builtin::StatementTimestamp => "statement_timestamp",
        Builtin::StringToArray => "string_to_array",
        Builtin::Substring => "substring",
        Builtin::ToChar => "to_char",
        Builtin::ToJson => "to_json",
        Builtin::ToJsonb => "to_jsonb",
        Builtin::ToTimestamp => "to_timestamp",
        Builtin::Translate => "translate",
        Builtin::Trunc => "trunc",
        Builtin::Upper => "upper",
    }
}
