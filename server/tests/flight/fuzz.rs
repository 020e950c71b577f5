//! What a stranger may send: messages that were cut, mixed, repeated and changed bit by bit, with a seed, for a bounded
//! time. Whatever comes, the server answers in time, blames the caller, and does not grow.

use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow_flight::encode::FlightDataEncoderBuilder;
use arrow_flight::sql::{
    ActionCancelQueryRequest, ActionClosePreparedStatementRequest, ActionCreatePreparedStatementRequest,
    CommandGetSqlInfo, CommandGetTables, CommandPreparedStatementQuery, CommandStatementQuery,
    CommandStatementSubstraitPlan, ProstMessageExt, SubstraitPlan,
};
use arrow_flight::{Action, CancelFlightInfoRequest, FlightData, FlightDescriptor, RenewFlightEndpointRequest, Ticket};
use datafusion::catalog::{CatalogProvider, MemTable, MemoryCatalogProvider, MemorySchemaProvider};
use datafusion::common::runtime::SpawnedTask;
use datafusion::prelude::SessionContext;
use datafusion_substrait::logical_plan::producer::to_substrait_plan;
use futures::{StreamExt, TryStreamExt, stream};
use prost::Message;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tonic::{Code, Status};

use crate::house::{Client, House, descriptor, orders};

const SEED: u64 = 20_260_822;
const TIME: Duration = Duration::from_secs(60);
/// No answer takes so long.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(10);
const GROWTH_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// SplitMix64.
struct Random(u64);

impl Random {
    fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.number() % bound.max(1) as u64).unwrap()
    }

    /// A message like `seed`, or not much like it.
    fn spoilt(&mut self, seed: &[u8], other: &[u8]) -> Vec<u8> {
        let mut bytes = seed.to_vec();
        for _ in 0..=self.below(4) {
            let (at, length) = (self.below(bytes.len()), bytes.len());
            match self.below(7) {
                0 if length > 0 => bytes[at] ^= 1 << self.below(8),
                1 if length > 0 => bytes[at] = [0, 0x7f, 0x80, 0xff][self.below(4)],
                2 => bytes.truncate(at),
                3 => bytes.splice(at..at, other.iter().copied()).for_each(drop),
                4 => bytes.truncate(self.below(length + 1)),
                5 => {
                    let noise: Vec<u8> = (0..self.below(64)).map(|_| self.number().to_le_bytes()[0]).collect();
                    bytes.extend(noise);
                }
                _ => {
                    let piece = bytes[at.min(length)..].to_vec();
                    bytes.extend(piece);
                }
            }
        }
        bytes.truncate(1 << 20);
        bytes
    }
}

/// A Substrait plan over the orders of the house.
async fn plan() -> SubstraitPlan {
    let context = SessionContext::new();
    let catalog = MemoryCatalogProvider::new();
    catalog
        .register_schema("shop", Arc::new(MemorySchemaProvider::new()))
        .unwrap();
    context.register_catalog("lake", Arc::new(catalog));
    let rows = MemTable::try_new(orders().schema(), vec![vec![]]).unwrap();
    context.register_table("lake.shop.orders", Arc::new(rows)).unwrap();
    let sql =
        "SELECT count(*), max(id) FROM lake.shop.orders WHERE id BETWEEN 1 AND 5 GROUP BY id % 3 ORDER BY 1 LIMIT 2";
    let plan = context.state().create_logical_plan(sql).await.unwrap();
    let plan = to_substrait_plan(&plan, &context.state()).unwrap();
    SubstraitPlan {
        plan: plan.encode_to_vec().into(),
        version: String::new(),
    }
}

/// Messages that are right.
async fn corpus(client: &mut Client) -> Vec<Vec<u8>> {
    let query = CommandStatementQuery {
        query: "SELECT * FROM lake.shop.orders WHERE id > 1".to_owned(),
        transaction_id: None,
    };
    let info = client.info(&query).await.unwrap();
    let ticket = info.endpoint[0].ticket.clone().unwrap().ticket.to_vec();
    let polled = client.poll(descriptor(&query)).await.unwrap();
    let handle = {
        let request = ActionCreatePreparedStatementRequest {
            query: "SELECT ? + 1".to_owned(),
            transaction_id: None,
        };
        client
            .act("CreatePreparedStatement", request.as_any().encode_to_vec())
            .await
            .unwrap()
    };
    let prepared_statement_handle: bytes::Bytes = handle.clone().into();
    let seeds = [
        query.as_any().encode_to_vec(),
        CommandGetTables::default().as_any().encode_to_vec(),
        CommandGetSqlInfo { info: vec![1, 2, 3] }.as_any().encode_to_vec(),
        CommandPreparedStatementQuery {
            prepared_statement_handle: prepared_statement_handle.clone(),
        }
        .as_any()
        .encode_to_vec(),
        ActionClosePreparedStatementRequest {
            prepared_statement_handle,
        }
        .as_any()
        .encode_to_vec(),
        ActionCancelQueryRequest {
            info: info.encode_to_vec().into(),
        }
        .as_any()
        .encode_to_vec(),
        CancelFlightInfoRequest::new(info.clone()).encode_to_vec(),
        RenewFlightEndpointRequest::new(info.endpoint[0].clone()).encode_to_vec(),
        polled.flight_descriptor.unwrap().cmd.to_vec(),
        ticket,
        handle,
        CommandStatementSubstraitPlan {
            plan: Some(plan().await),
            transaction_id: None,
        }
        .as_any()
        .encode_to_vec(),
        Vec::new(),
    ];
    seeds.into()
}

/// One call with spoilt bytes.
async fn call(client: &mut Client, random: &mut Random, bytes: Vec<u8>, upload: &[FlightData]) -> Result<(), Status> {
    let actions = [
        "CreatePreparedStatement",
        "ClosePreparedStatement",
        "CancelFlightInfo",
        "CancelQuery",
        "RenewFlightEndpoint",
        "SetSessionOptions",
        "GetSessionOptions",
        "BeginTransaction",
        "",
    ];
    let inner = client.sql.inner_mut();
    match random.below(6) {
        0 => drop(inner.get_flight_info(FlightDescriptor::new_cmd(bytes)).await?),
        1 => drop(inner.get_schema(FlightDescriptor::new_cmd(bytes)).await?),
        2 => drop(inner.poll_flight_info(FlightDescriptor::new_cmd(bytes)).await?),
        3 => {
            let mut answer = inner.do_get(Ticket::new(bytes)).await?.into_inner();
            while answer.message().await?.is_some() {}
        }
        4 => {
            let r#type = actions[random.below(actions.len())].to_owned();
            let action = Action {
                r#type,
                body: bytes.into(),
            };
            let mut answer = inner.do_action(action).await?.into_inner();
            while answer.message().await?.is_some() {}
        }
        _ => {
            let mut messages = upload.to_vec();
            let at = random.below(messages.len());
            let message = &mut messages[at];
            match random.below(3) {
                0 => message.data_header = random.spoilt(&message.data_header.clone(), &bytes).into(),
                1 => message.data_body = random.spoilt(&message.data_body.clone(), &bytes).into(),
                _ => message.flight_descriptor = Some(FlightDescriptor::new_cmd(bytes)),
            }
            let mut answer = inner.do_put(stream::iter(messages)).await?.into_inner();
            while answer.message().await?.is_some() {}
        }
    }
    Ok(())
}

/// Bytes of memory that this process has.
/// A server in a process of its own: what it grows by is not that of other tests.
struct Live {
    process: Child,
    url: String,
    _said: SpawnedTask<()>,
    _data: TempDir,
}

impl Live {
    async fn start() -> Self {
        let data = House::embedded().await.leave().await;
        let mut process = Command::new(env!("CARGO_BIN_EXE_lakewing"))
            .args(["serve", "--listen", "127.0.0.1:0", "--data-dir"])
            .arg(data.path())
            .env("RUST_BACKTRACE", "0")
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stderr.take().unwrap()).lines();
        let url = loop {
            let line = lines.next_line().await.unwrap().unwrap();
            if let Some(url) = line.strip_prefix("ready: ") {
                break url.replace("grpc://", "http://");
            }
        };
        // The library of Substrait panics about much of it, and each time that is told.
        let said = SpawnedTask::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        Self {
            process,
            url,
            _said: said,
            _data: data,
        }
    }

    fn resident(&self) -> u64 {
        let file = format!("/proc/{}/statm", self.process.id().unwrap());
        let pages = std::fs::read_to_string(file).unwrap();
        pages.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4096
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nonsense_is_answered_and_forgotten() {
    let server = Live::start().await;
    let mut client = Client::of(&server.url).await;
    let seeds = corpus(&mut client).await;
    for seed in seeds
        .iter()
        .filter(|seed| String::from_utf8_lossy(seed).contains("SubstraitPlan"))
    {
        let info = client
            .sql
            .inner_mut()
            .get_flight_info(FlightDescriptor::new_cmd(seed.clone()))
            .await;
        assert_eq!(info.unwrap().into_inner().endpoint.len(), 1);
    }
    let execute = descriptor(&CommandPreparedStatementQuery {
        prepared_statement_handle: seeds[10].clone().into(),
    });
    let encoder = FlightDataEncoderBuilder::new().with_flight_descriptor(Some(execute));
    let upload: Vec<FlightData> = encoder
        .build(stream::iter([Ok(orders())]).boxed())
        .try_collect()
        .await
        .unwrap();

    let mut random = Random(SEED);
    let (began, mut calls, mut early) = (Instant::now(), 0_u32, None);
    while began.elapsed() < TIME {
        let seed = &seeds[random.below(seeds.len())];
        let other = &seeds[random.below(seeds.len())];
        let bytes = random.spoilt(seed, other);
        let answer =
            tokio::time::timeout(ANSWER_TIME_MAX, call(&mut client, &mut random, bytes.clone(), &upload)).await;
        let answer = answer.unwrap_or_else(|_| panic!("call {calls} of seed {SEED} hangs: {bytes:?}"));
        if let Err(status) = answer {
            let ours = matches!(
                status.code(),
                Code::Internal | Code::Unknown | Code::Unavailable | Code::DataLoss
            );
            assert!(!ours, "call {calls} of seed {SEED} fails with {status}: {bytes:?}");
        }
        calls += 1;
        if began.elapsed() > TIME / 3 {
            early.get_or_insert_with(|| server.resident());
        }
    }
    assert!(calls > 100, "{calls} calls in {TIME:?}");
    let growth = server.resident().saturating_sub(early.unwrap());
    assert!(growth < GROWTH_BYTES_MAX, "{calls} calls left {growth} bytes");
    assert_eq!(client.query("SELECT 1").await.unwrap().1.num_rows(), 1);
}
