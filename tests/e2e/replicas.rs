//! Two servers with one secret behind a proxy that gives every connection to the other one: what one server handed out
//! the other understands, also while both are replaced.

mod ending;

use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::Int64Type;
use arrow_flight::encode::FlightDataEncoderBuilder;
use arrow_flight::sql::{
    ActionClosePreparedStatementRequest, ActionCreatePreparedStatementRequest, ActionCreatePreparedStatementResult,
    Any, CommandPreparedStatementQuery, CommandStatementQuery, DoPutPreparedStatementResult, ProstMessageExt,
};
use arrow_flight::{Action, FlightDescriptor, FlightInfo, PollInfo, Ticket};
use futures::{StreamExt, TryStreamExt, stream};
use harness::{Client, Lake, LakeBuilder, Proxy, demo, rows};
use prost::Message;
use tempfile::TempDir;
use tonic::Request;

const CYCLES: i64 = 200;
const SQL: &str = "SELECT n_nationkey + ?, ? FROM nation WHERE n_nationkey < 10 ORDER BY 1";

fn replica(data: &TempDir) -> LakeBuilder {
    let auth = "[auth]\nmode = \"basic\"\nusers = { alice = \"wonderland\", bob = \"builder\" }\n\
                secret = \"0123456789abcdef\"\n";
    Lake::embedded().data(data.path()).section(auth)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_step_on_another_server_and_both_replaced() -> Result<()> {
    let data = tempfile::tempdir()?;
    demo(
        0.001,
        &["--data-dir", data.path().to_str().context("a path that is no text")?],
    )
    .await?;
    let (mut first, mut second) = (replica(&data).start().await?, replica(&data).start().await?);
    let proxy = Proxy::start(vec![first.address(), second.address()]).await?;
    let mut login = Client::connect(proxy.address()).await?;
    login.login("alice", "wonderland").await?;
    let steps = Steps {
        token: login.raw().token().context("no token")?.clone(),
        proxy,
    };
    for cycle in 0..CYCLES {
        // A text that makes every fourth handle too large to travel.
        let text = "x".repeat(if cycle % 4 == 0 { 50_000 } else { 5 });
        let sum = steps
            .cycle(cycle, &text)
            .await
            .with_context(|| format!("cycle {cycle}"))?;
        ensure!(sum == 45 + 10 * cycle, "cycle {cycle} gives {sum}");
        if cycle % 20 == 0 {
            steps
                .polled()
                .await
                .with_context(|| format!("polls of cycle {cycle}"))?;
        }
        if cycle == CYCLES / 3 {
            steps.proxy.set_servers(vec![second.address()]);
            first.server.terminate().await?;
            first = replica(&data).start().await?;
            steps.proxy.set_servers(vec![first.address(), second.address()]);
        }
        if cycle == CYCLES / 2 {
            steps.proxy.set_servers(vec![first.address()]);
            second.server.terminate().await?;
            second = replica(&data).start().await?;
            steps.proxy.set_servers(vec![first.address(), second.address()]);
        }
    }
    Ok(())
}

/// What one server was told of a session the other one knows, also when it was closed.
#[tokio::test(flavor = "multi_thread")]
async fn a_session_is_the_same_on_every_server() -> Result<()> {
    let data = tempfile::tempdir()?;
    let (mut first, second) = (replica(&data).start().await?, replica(&data).start().await?);
    let mut here = first.client().await?;
    here.login("alice", "wonderland").await?;
    let mut there = second.client().await?;
    let token = here.raw().token().context("no token")?.clone();
    there.raw().set_token(token.clone());
    here.query("CREATE SCHEMA lake.s").await?;
    for sql in [
        "USE lake.s",
        "CREATE TEMPORARY VIEW few AS SELECT 7 AS n",
        "CREATE TEMPORARY TABLE own AS SELECT 8 AS n",
        "PREPARE sum AS SELECT few.n + own.n + $1 FROM few, own",
    ] {
        here.query(sql).await.context(sql)?;
    }
    let sum = "EXECUTE sum(1)";
    let expected = rows(&here.query(sum).await?)?;
    ensure!(format!("{expected:?}").contains("16"), "{expected:?}");
    ensure!(
        rows(&there.query(sum).await?)? == expected,
        "the other server has another session"
    );
    there
        .query("CREATE OR REPLACE TEMPORARY VIEW few AS SELECT 70 AS n")
        .await?;
    let changed = format!("{:?}", rows(&here.query("SELECT n FROM few").await?)?);
    ensure!(changed.contains("70"), "{changed}");
    // What was SET outlives the server that was told.
    first.server.terminate().await?;
    first = replica(&data).start().await?;
    let mut again = first.client().await?;
    again.raw().set_token(token);
    let kept = format!("{:?}", rows(&again.query("SELECT n FROM few").await?)?);
    ensure!(kept.contains("70"), "{kept}");
    let close = Action {
        r#type: "CloseSession".to_owned(),
        body: bytes::Bytes::new(),
    };
    there.raw().do_action(Request::new(close)).await?;
    let closed = again.failure("SELECT n FROM few").await?;
    ensure!(closed.code() == tonic::Code::NotFound, "{closed}");
    Ok(())
}

/// Calls, each on a connection of its own.
struct Steps {
    proxy: Proxy,
    token: String,
}

impl Steps {
    async fn client(&self) -> Result<Client> {
        Client::connect(self.proxy.address()).await
    }

    fn request<T>(&self, message: T) -> Result<Request<T>> {
        let mut request = Request::new(message);
        request
            .metadata_mut()
            .insert("authorization", format!("Bearer {}", self.token).parse()?);
        Ok(request)
    }

    /// Prepares, binds, executes, fetches and closes; the sum of the first column.
    async fn cycle(&self, number: i64, text: &str) -> Result<i64> {
        let create = ActionCreatePreparedStatementRequest {
            query: SQL.replace("nation WHERE", "lake.tpch.nation WHERE"),
            transaction_id: None,
        };
        let created = self
            .act("CreatePreparedStatement", create.as_any())
            .await?
            .context("no answer")?;
        let created: ActionCreatePreparedStatementResult =
            Any::decode(&*created)?.unpack()?.context("another answer")?;
        let handle = self.bind(created.prepared_statement_handle, number, text).await?;
        let execute = CommandPreparedStatementQuery {
            prepared_statement_handle: handle.clone(),
        };
        let info = self.info(&execute).await?;
        let ticket = info.endpoint.first().and_then(|endpoint| endpoint.ticket.clone());
        let rows = self.get(ticket.context("no ticket")?).await?;
        let close = ActionClosePreparedStatementRequest {
            prepared_statement_handle: handle,
        };
        self.act("ClosePreparedStatement", close.as_any()).await?;
        let sums = rows
            .iter()
            .map(|rows| rows.column(0).as_primitive::<Int64Type>().values().iter().sum::<i64>());
        ensure!(rows.iter().all(|rows| {
            rows.column(1)
                .as_string::<i32>()
                .iter()
                .all(|value| value == Some(text))
        }));
        Ok(sums.sum())
    }

    /// A polled query from its beginning to its rows, fetched twice.
    async fn polled(&self) -> Result<()> {
        let query = CommandStatementQuery {
            query: "SELECT * FROM delta.tpch.customer ORDER BY c_custkey".to_owned(),
            transaction_id: None,
        };
        let mut next = Some(FlightDescriptor::new_cmd(query.as_any().encode_to_vec()));
        let mut info = FlightInfo::default();
        while let Some(descriptor) = next {
            let request = self.request(descriptor)?;
            let answer: PollInfo = self
                .client()
                .await?
                .raw()
                .inner_mut()
                .poll_flight_info(request)
                .await?
                .into_inner();
            next = answer.flight_descriptor;
            info = answer.info.context("no info")?;
        }
        for endpoint in &info.endpoint {
            let ticket = endpoint.ticket.clone().context("no ticket")?;
            let rows = self.get(ticket.clone()).await?;
            ensure!(rows == self.get(ticket).await?, "the rows of one ticket differ");
            ensure!(rows.iter().map(RecordBatch::num_rows).sum::<usize>() == 150);
        }
        Ok(())
    }

    async fn info<M: ProstMessageExt>(&self, command: &M) -> Result<FlightInfo> {
        let descriptor = FlightDescriptor::new_cmd(command.as_any().encode_to_vec());
        let mut client = self.client().await?;
        Ok(client
            .raw()
            .inner_mut()
            .get_flight_info(self.request(descriptor)?)
            .await?
            .into_inner())
    }

    async fn act(&self, name: &str, body: Any) -> Result<Option<Vec<u8>>> {
        let action = Action {
            r#type: name.to_owned(),
            body: body.encode_to_vec().into(),
        };
        let mut client = self.client().await?;
        let mut answers = client
            .raw()
            .inner_mut()
            .do_action(self.request(action)?)
            .await?
            .into_inner();
        Ok(answers.message().await?.map(|answer| answer.body.to_vec()))
    }

    async fn bind(&self, handle: bytes::Bytes, number: i64, text: &str) -> Result<bytes::Bytes> {
        let command = CommandPreparedStatementQuery {
            prepared_statement_handle: handle,
        };
        let columns: [(&str, ArrayRef); 2] = [
            ("$1", Arc::new(Int64Array::from(vec![number]))),
            ("$2", Arc::new(StringArray::from(vec![text]))),
        ];
        let row = RecordBatch::try_from_iter(columns)?;
        let descriptor = FlightDescriptor::new_cmd(command.as_any().encode_to_vec());
        let encoder = FlightDataEncoderBuilder::new().with_flight_descriptor(Some(descriptor));
        let messages: Vec<_> = encoder.build(stream::iter([Ok(row)]).boxed()).try_collect().await?;
        let request = self.request(stream::iter(messages))?;
        let mut client = self.client().await?;
        let mut answers = client.raw().inner_mut().do_put(request).await?.into_inner();
        let answer = answers.message().await?.context("no answer")?;
        let bound = DoPutPreparedStatementResult::decode(answer.app_metadata)?;
        bound.prepared_statement_handle.context("no handle")
    }

    async fn get(&self, ticket: Ticket) -> Result<Vec<RecordBatch>> {
        let mut client = self.client().await?;
        client.raw().set_token(self.token.clone());
        let rows = client.raw().do_get(ticket).await?;
        Ok(rows.try_collect().await?)
    }
}
