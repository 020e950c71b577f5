"""Profiles, and connections made of them."""

from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Dict, Iterator, Optional, Tuple, Union

import adbc_driver_manager
import pyarrow as pa
from adbc_driver_flightsql import DatabaseOptions, OAuthFlowType, dbapi
from dbt_common.clients.agate_helper import empty_table
from dbt_common.exceptions import DbtConfigError, DbtDatabaseError, DbtRuntimeError

from dbt.adapters.contracts.connection import AdapterResponse, Connection, ConnectionState, Credentials
from dbt.adapters.events.logging import AdapterLogger
from dbt.adapters.lakewing.column import sql_type
from dbt.adapters.lakewing.handle import Cursor, Handle
from dbt.adapters.sql import SQLConnectionManager

if TYPE_CHECKING:
    import agate

logger = AdapterLogger("Lakewing")

FORMATS = ("iceberg", "delta")

#: The branch that every table has.
MAIN = "main"


@dataclass
class LakewingCredentials(Credentials):
    """A target in profiles.yml. `database` is the catalog, and `schema` the schema that dbt builds in."""

    host: str = "127.0.0.1"
    port: int = 31415
    user: Optional[str] = None
    password: Optional[str] = None
    token: Optional[str] = None
    oauth_token_uri: Optional[str] = None
    oauth_client_id: Optional[str] = None
    oauth_client_secret: Optional[str] = None
    oauth_scope: Optional[str] = None
    executor_set: Optional[str] = None
    branch: str = MAIN
    tls: bool = False
    tls_ca: Optional[str] = None
    tls_certificate: Optional[str] = None
    tls_key: Optional[str] = None
    table_format: str = "iceberg"
    session: Dict[str, Any] = field(default_factory=dict)
    query_tags: Dict[str, str] = field(default_factory=dict)
    connect_retries: int = 3

    _ALIASES = {"catalog": "database", "username": "user", "pass": "password"}

    def __post_init__(self) -> None:
        if self.table_format not in FORMATS:
            raise DbtConfigError(f"table_format is {' or '.join(FORMATS)}, not {self.table_format!r}")
        if sum(map(bool, (self.user, self.token, self.oauth_token_uri))) > 1:
            raise DbtConfigError("a target has a user, a token or an oauth_token_uri: only one of them")
        if self.oauth_token_uri and not (self.oauth_client_id and self.oauth_client_secret):
            raise DbtConfigError("oauth_token_uri, oauth_client_id and oauth_client_secret belong together")
        if (self.tls_certificate is None) != (self.tls_key is None):
            raise DbtConfigError("tls_certificate and tls_key belong together")

    @property
    def type(self) -> str:
        return "lakewing"

    @property
    def unique_field(self) -> str:
        return f"{self.host}:{self.port}"

    def _connection_keys(self) -> Tuple[str, ...]:
        return (
            "host",
            "port",
            "user",
            "database",
            "schema",
            "tls",
            "tls_ca",
            "tls_certificate",
            "oauth_token_uri",
            "oauth_client_id",
            "executor_set",
            "branch",
            "table_format",
            "session",
            "query_tags",
        )

    @property
    def uri(self) -> str:
        scheme = "grpc+tls" if self.tls else "grpc"
        return f"{scheme}://{self.host}:{self.port}"

    def driver_options(self) -> Dict[str, str]:
        """What the ADBC driver is told besides the address."""
        options = {DatabaseOptions.WITH_COOKIE_MIDDLEWARE.value: "true"}
        if self.user:
            options |= {"username": self.user, "password": self.password or ""}
        if self.token:
            options[DatabaseOptions.AUTHORIZATION_HEADER.value] = f"Bearer {self.token}"
        if self.oauth_token_uri:
            options |= {
                DatabaseOptions.OAUTH_FLOW.value: OAuthFlowType.CLIENT_CREDENTIALS.value,
                DatabaseOptions.OAUTH_TOKEN_URI.value: self.oauth_token_uri,
                DatabaseOptions.OAUTH_CLIENT_ID.value: self.oauth_client_id or "",
                DatabaseOptions.OAUTH_CLIENT_SECRET.value: self.oauth_client_secret or "",
            }
            if self.oauth_scope:
                options[DatabaseOptions.OAUTH_SCOPE.value] = self.oauth_scope
        if self.tls_ca:
            options[DatabaseOptions.TLS_ROOT_CERTS.value] = _read(self.tls_ca)
        if self.tls_certificate and self.tls_key:
            options[DatabaseOptions.MTLS_CERT_CHAIN.value] = _read(self.tls_certificate)
            options[DatabaseOptions.MTLS_PRIVATE_KEY.value] = _read(self.tls_key)
        tags = {"client": "dbt-lakewing"} | self.query_tags
        header = f"{DatabaseOptions.RPC_CALL_HEADER_PREFIX.value}x-lakewing-query-tags"
        options[header] = ",".join(f"{name}={value}" for name, value in tags.items())
        return options


class LakewingConnectionManager(SQLConnectionManager):
    """One ADBC connection for each of dbt's threads."""

    TYPE = "lakewing"

    @contextmanager
    def exception_handler(self, sql: str) -> Iterator[None]:
        try:
            yield
        except adbc_driver_manager.Error as error:
            raise DbtDatabaseError(str(error).strip()) from error
        except DbtRuntimeError:
            raise
        except Exception as error:
            logger.debug(f"Error running SQL: {sql}")
            raise DbtRuntimeError(str(error)) from error

    @classmethod
    def open(cls, connection: Connection) -> Connection:
        if connection.state == ConnectionState.OPEN:
            return connection
        credentials: LakewingCredentials = connection.credentials

        def connect() -> Handle:
            opened = dbapi.connect(credentials.uri, db_kwargs=credentials.driver_options(), autocommit=True)
            handle = Handle(opened)
            cursor = handle.cursor()
            settings = dict(credentials.session)
            if credentials.executor_set:
                settings["executor_set"] = credentials.executor_set
            if credentials.branch != MAIN:
                settings["branch"] = credentials.branch
            for name, value in settings.items():
                text = str(value).replace("'", "''")
                cursor.execute(f"set {name} = '{text}'")
            cursor.execute("select 1")
            cursor.fetchall()
            cursor.close()
            return handle

        return cls.retry_connection(
            connection,
            connect=connect,
            logger=logger,
            retry_limit=credentials.connect_retries,
            retryable_exceptions=[adbc_driver_manager.OperationalError],
        )

    def cancel(self, connection: Connection) -> None:
        connection.handle.cancel()

    @classmethod
    def get_response(cls, cursor: Cursor) -> AdapterResponse:
        rows = cursor.rowcount
        if cursor.schema is not None or rows < 0:
            return AdapterResponse(_message="OK")
        return AdapterResponse(_message=f"OK {rows}", code="OK", rows_affected=rows)

    @classmethod
    def data_type_code_to_name(cls, type_code: Union[int, str, pa.DataType]) -> str:
        return sql_type(type_code) if isinstance(type_code, pa.DataType) else str(type_code)

    def execute(
        self, sql: str, auto_begin: bool = False, fetch: bool = False, limit: Optional[int] = None
    ) -> Tuple[AdapterResponse, "agate.Table"]:
        # What dbt sends before hooks that are to run outside of a transaction.
        if sql.strip().lower() == "commit;":
            return AdapterResponse(_message="OK"), empty_table()  # type: ignore[no-untyped-call]
        return super().execute(sql, auto_begin, fetch, limit)

    def add_begin_query(self, *args: Any, **kwargs: Any) -> None:
        """There are no transactions."""

    def add_commit_query(self, *args: Any, **kwargs: Any) -> None:
        """There are no transactions."""

    def begin(self) -> None:
        """There are no transactions."""

    def commit(self) -> None:
        """There are no transactions."""

    @classmethod
    def _rollback_handle(cls, connection: Connection) -> None:
        """There is nothing to take back."""

    def clear_transaction(self) -> None:
        """There are no transactions."""


def _read(path: str) -> str:
    try:
        return Path(path).expanduser().read_text()
    except OSError as error:
        raise DbtConfigError(f"cannot read {path}: {error.strerror}") from error


