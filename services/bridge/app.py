"""Wires the bridge: settings → telemetry → database → engine → routes."""

import shutil
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial

from fastapi import FastAPI

from services.bridge import api, bot_messages, inbound, openapi, state
from services.bridge.approvals import api as approvals_api
from services.bridge.approvals.from_event import EventApprovals
from services.bridge.bots import DEFAULT, Bot
from services.bridge.chats import api as chats_api
from services.bridge.chats import quiet
from services.bridge.chats.directory import ChatDirectory
from services.bridge.digests import Digests
from services.bridge.events import api as templates_api
from services.bridge.events import mapping_folder, send_options, template_folder
from services.bridge.events.mapping_folder import MappingFolder
from services.bridge.events.render import render
from services.bridge.events.template_folder import TemplateFolder
from services.bridge.files import api as files_api
from services.bridge.files.download import Downloader
from services.bridge.files.fetch import Fetcher
from services.bridge.first_chat import api as bots_api
from services.bridge.first_chat import choice
from services.bridge.first_chat.choice import FirstChat
from services.bridge.folder import intake as folder_intake
from services.bridge.folder.files import folder_of
from services.bridge.folder.intake import FolderIntake
from services.bridge.inbound import InboundMetrics, open_inbound
from services.bridge.keys import api as keys_api
from services.bridge.keys import keyring
from services.bridge.keys.authenticate import Authenticator
from services.bridge.metrics import BridgeMetrics, CostMetrics, FileMetrics, FolderMetrics, SmtpMetrics
from services.bridge.paid_broadcast import Costs
from services.bridge.repeat_counts import RepeatCounts
from services.bridge.routes import active_routes
from services.bridge.routes import api as routes_api
from services.bridge.routes.active_routes import ActiveRoutes
from services.bridge.settings import BridgeSettings
from services.bridge.state import BridgeState
from services.bridge.tracking import api as tracking_api
from services.bridge.tracking import lifespan as tracking
from services.bridge.tracking.callbacks import api as callbacks_api
from services.bridge.tracking.metrics import TrackingMetrics
from services.bridge.tracking.totals import TotalsCounter
from services.bridge.updates import api as updates_api
from services.bridge.updates import responses
from services.bridge.ways_in import api as ways_in_api
from services.bridge.ways_in import ntfy_api
from services.bridge.ways_in.hooks import api as hooks_api
from services.bridge.ways_in.hooks.sources import SOURCES
from services.bridge.ways_in.smtp.server import open_smtp
from services.contracts.events import CATEGORY_OF
from services.contracts.health import BridgeDetails, ProcessNumbers
from services.kit.background import run_in_background
from services.kit.clock import Clock, SystemClock
from services.kit.database import leader_lease
from services.kit.database.connect import open_database
from services.kit.health import Health, Level, Measurement
from services.kit.telemetry.telemetry import Telemetry
from services.kit.web.login_blocker import LoginBlocker
from services.kit.web.rate_limit import RateLimiter, SecurityMetrics
from services.kit.web.service import create_service
from services.outbox.delivery.plan import ChatRules
from services.outbox.engine import OPERATIONS, Outbox, SendingBot, open_outbox
from services.outbox.files.store import FileStore
from services.outbox.metrics import OutboxMetrics
from services.outbox.queries.queue_depth import unknown_bots
from services.outbox.rate_limit import buckets
from services.outbox.rate_limit.buckets import Buckets, LocalBuckets
from services.outbox.telegram.bot_api import make_bot
from services.outbox.telegram.sender import Sender
from services.outbox.telegram.uploads import Uploads
from services.updates.stored_updates import schema as stored_updates

FULL_DISK = 0.95
FILLING_DISK = 0.85

#: Whose tables the bridge's database holds, in order of dependency.
PACKAGES = (
    "services.outbox",
    *inbound.PACKAGES,
    tracking.PACKAGE,
    keyring.PACKAGE,
    active_routes.PACKAGE,
    # Last, since in a database of the bridge revisions of the packages above make the same tables.
    leader_lease.PACKAGE,
    stored_updates.PACKAGE,
)


def create_app(  # noqa: PLR0915 - the composition root
    settings: BridgeSettings, clock: Clock | None = None, *, beside: LocalBuckets | None = None
) -> FastAPI:
    """The bridge as a service.

    Args:
        settings: its own.
        clock: another source of time, for tests.
        beside: the rates of services in the same process that send as well.
    """
    clock = clock or SystemClock()
    telemetry = Telemetry("bridge", settings)
    health = Health(clock)
    metrics = OutboxMetrics(telemetry.registry, CATEGORY_OF)
    tracking_metrics = TrackingMetrics(telemetry.registry)
    folder = TemplateFolder(settings.templates_dir, telemetry.registry) if settings.templates_dir else None
    templates = folder.templates if folder else None
    mappings = MappingFolder(settings.hooks_dir, SOURCES)
    security = SecurityMetrics(telemetry.registry)
    ring = keyring.make_keyring(settings, clock)
    bots = settings.bots()
    inbound_metrics = InboundMetrics.of(telemetry, bots)
    cost_metrics = CostMetrics(telemetry.registry, bots)
    asks = EventApprovals(bots, settings.approval_expires_seconds, templates)
    routes = ActiveRoutes(
        {name: bot.chats for name, bot in bots.items()}, settings.routes_file, telemetry.registry, clock
    )
    first_chat = FirstChat(bots, routes)
    folder_metrics = FolderMetrics(telemetry.registry)
    file_metrics = FileMetrics(telemetry.registry)
    smtp_metrics = SmtpMetrics(telemetry.registry)
    authenticator = Authenticator(
        ring, RateLimiter(security, clock, settings.rate_limit_per_second), telemetry.registry, clock
    )

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[Mapping[str, BridgeState]]:
        async with AsyncExitStack() as stack:
            database = await open_database(
                settings.database("bridge"),
                telemetry,
                packages=PACKAGES,
                operations=OPERATIONS,
            )
            stack.push_async_callback(database.close)
            await stack.enter_async_context(keyring.open_keyring(ring, database, health))
            await stack.enter_async_context(active_routes.open_active_routes(routes, database, health))
            await stack.enter_async_context(template_folder.open_templates(folder, health))
            await stack.enter_async_context(mapping_folder.open_mappings(mappings, health))
            await stack.enter_async_context(choice.open_first_chat(first_chat, database, health))
            rates = await stack.enter_async_context(
                buckets.open_buckets(
                    settings.redis_url,
                    local=beside,
                    clock=clock,
                    health=health,
                    leave=buckets.LEFT_FOR_ALERTS,
                )
            )
            files = FileStore(
                database,
                clock,
                max_bytes=settings.max_file_bytes,
                max_total_bytes=settings.files_max_total_bytes,
            )
            uploads = Uploads(files.read)
            fetcher = Fetcher(
                Downloader(files, inbound.destinations_of(settings)),
                database=database,
                metrics=file_metrics,
                clock=clock,
            )
            health.add("file_store", partial(_check_files, files, file_metrics), every=10.0)
            sending = {
                name: _sending(bot, rates, settings, telemetry, clock, uploads) for name, bot in bots.items()
            }
            paying = {name: one.sender.bot for name, one in sending.items() if bots[name].paid_per_second}
            if paying:
                await stack.enter_async_context(run_in_background(Costs(paying, cost_metrics).run()))
            bot_clients = {name: one.sender.bot for name, one in sending.items()}
            chats = ChatDirectory(database, bot_clients, responses.private_chat, clock)
            default = sending.pop(DEFAULT)
            totals = TotalsCounter(database, clock)
            await totals.begin()
            outbox = await stack.enter_async_context(
                open_outbox(
                    settings.engine(),
                    database=database,
                    telemetry=telemetry,
                    metrics=metrics,
                    clock=clock,
                    sender=default.sender,
                    render=bot_messages.renderer(partial(render, templates=templates)),
                    bucket=default.bucket,
                    paid_bucket=default.paid_bucket,
                    chat_pace=default.chat_pace,
                    other_bots=sending,
                    prepare=fetcher.prepare,
                    rules=ChatRules(
                        mutes=lambda message: not bot_messages.passes_mute(message),
                        defers=quiet.deferral,
                        answers=send_options.answered,
                    ),
                )
            )
            await stack.enter_async_context(
                run_in_background(
                    totals.run(),
                    RepeatCounts(outbox, templates, clock).run(),
                    Digests(outbox, tracking_metrics, clock).run(),
                )
            )
            _watch(health, outbox, settings)
            _watch_bots(health, outbox, sending)
            listening = await stack.enter_async_context(
                open_inbound(
                    settings,
                    outbox=outbox,
                    totals=totals,
                    bots=bots,
                    first_chat=first_chat,
                    bot_clients=bot_clients,
                    telemetry=telemetry,
                    metrics=inbound_metrics,
                    health=health,
                    clock=clock,
                )
            )
            tracked = await stack.enter_async_context(
                tracking.open_tracking(
                    settings,
                    database=database,
                    metrics=tracking_metrics,
                    clock=clock,
                    also=inbound.DELETE_OLD,
                )
            )
            if settings.events_dir is not None:
                taking = FolderIntake(
                    folder_of(settings.events_dir),
                    folder_intake.Limits(
                        settings.max_body_bytes,
                        settings.jaeger_ui_url,
                        listening.destinations.refusal,
                        settings.dedup_window_seconds,
                    ),
                    outbox=outbox,
                    files=files,
                    routes=lambda: routes.routes,
                    find_chats=chats.find,
                    asks=asks,
                    on_approvals=listening.publisher.created_by_events,
                    telemetry=telemetry,
                    metrics=folder_metrics,
                    clock=clock,
                )
                health.add("folder_intake", taking.check, every=1.0)
                await stack.enter_async_context(folder_intake.open_folder(taking))
            app.state.health_details = lambda: _health_details(app, telemetry, totals)
            parts = BridgeState(
                settings=settings,
                clock=clock,
                telemetry=telemetry,
                outbox=outbox,
                bots=bots,
                template_folder=folder,
                mappings=mappings.mappings,
                asks=asks,
                chats=chats,
                authenticator=authenticator,
                active_routes=routes,
                inbound=listening,
                tracking=tracked,
                totals=totals,
                files=files,
            )
            await stack.enter_async_context(open_smtp(settings, parts, app, smtp_metrics))
            yield {state.NAME: parts}

    app = create_service(
        settings=settings,
        telemetry=telemetry,
        health=health,
        lifespan=lifespan,
        login_blocker=LoginBlocker(security, clock),
        summary="Takes events over REST and delivers them to Telegram without losing one.",
        public=[api.public, api.intake, updates_api.public, ways_in_api.router, hooks_api.router],
        routers=[
            api.router,
            files_api.router,
            approvals_api.router,
            updates_api.router,
            tracking_api.router,
            callbacks_api.router,
            keys_api.router,
            keys_api.caller_router,
            routes_api.router,
            chats_api.router,
            hooks_api.keyed,
            bots_api.router,
            templates_api.router,
        ],
        keyring=ring,
        admission=state.admitted,
        schemas={**api.SCHEMAS, **tracking_api.SCHEMAS},
        watched=api.WATCHED,
        last=[ntfy_api.router],
        streams=api.streams,
    )
    openapi.install(app)
    app.state.first_chat = first_chat
    BridgeMetrics(telemetry, lambda: int(app.state.connections()))
    return app


def _sending(  # noqa: PLR0917 - what each bot needs
    bot: Bot, rates: Buckets, settings: BridgeSettings, telemetry: Telemetry, clock: Clock, uploads: Uploads
) -> SendingBot[Sender]:
    made = make_bot(
        bot.token,
        bot.api_url,
        settings.send_concurrency,
        telemetry.count_call,
        settings.proxy_of(bot.api_url),
    )
    return SendingBot(
        Sender(made, clock, pays_for_bulk=bot.paid_per_second > 0, uploads=uploads),
        bot.limits,
        rates.of(bot.token, bot.limits.bot_per_second),
        rates.paid(bot.token, bot.paid_beyond) if bot.paid_beyond else None,
        rates.chats(bot.token),
    )


def _watch(health: Health, outbox: Outbox, settings: BridgeSettings) -> None:
    health.add("telegram_api", outbox.check_telegram, every=10.0, timeout=12.0)
    health.add("message_queue", outbox.queue.check, every=1.0)
    database = outbox.database
    health.add("database", database.check, required=True, wake=database.failures.noticed)

    async def check_disk() -> Measurement:
        usage = shutil.disk_usage(settings.data_dir)
        used = usage.used / usage.total
        level = (
            Level.UNHEALTHY if used > FULL_DISK else Level.DEGRADED if used > FILLING_DISK else Level.HEALTHY
        )
        watched = {"events_dir": str(settings.events_dir)} if settings.events_dir else {}
        return Measurement(
            level, {"disk_usage": f"{used:.0%}", "data_dir": str(settings.data_dir), **watched}
        )

    health.add("file_system", check_disk)


async def _check_files(files: FileStore, metrics: FileMetrics) -> Measurement:
    """Health: degraded while the store of files has no room for a file of the largest size."""
    size = await files.total()
    metrics.stored_bytes.set(size)
    room = files.max_total_bytes - size >= files.max_bytes
    measured = {"stored_bytes": size, "limit_bytes": files.max_total_bytes}
    return Measurement(Level.HEALTHY if room else Level.DEGRADED, measured)


def _watch_bots(health: Health, outbox: Outbox, others: Mapping[str, SendingBot[Sender]]) -> None:
    """Each further bot by itself: one that is refused stops alone."""
    for name, sending in others.items():
        check = partial(outbox.check_bot, sending.sender)
        health.add(f"telegram:{name}", check, every=10.0, timeout=12.0)
    known = (DEFAULT, *others)

    async def check_bots() -> Measurement:
        waits = await outbox.database.read("depth", partial(unknown_bots, known=known))
        measured = {"bots": len(known), **({"waiting_for_unknown": waits} if waits else {})}
        return Measurement(Level.DEGRADED if waits else Level.HEALTHY, measured)

    health.add("telegram_bots", check_bots)


def _health_details(app: FastAPI, telemetry: Telemetry, totals: TotalsCounter) -> BridgeDetails:
    count = totals.latest
    return BridgeDetails(
        metrics=ProcessNumbers(
            uptime_seconds=round(telemetry.uptime(), 1),
            memory_usage_mb=round(telemetry.memory_bytes() / 1_048_576, 1),
            cpu_usage_percent=telemetry.cpu_percent(),
            active_connections=app.state.connections(),
            messages_processed_total=count.totals.delivered + count.totals.failed if count else None,
        )
    )
