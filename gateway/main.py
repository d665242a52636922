"""The `hexagone` command: what there is, and where it is. A module is imported when its command is
asked for, so that help and completion answer at once.

Another command: a line here, and an `add_commands(app)` in its module.
"""

from __future__ import annotations

import typer

from gateway.terminal.commands import Commands, Offered, root_options

RUN, LOOK, KEYS = "Run a cluster", "Look at it", "Keys and identities"
TENANTS, PROOF = "Tenants and rights", "Evidence and accounts"

OFFERED = (
    Offered(
        name="up",
        help="Run a whole cluster on this machine, in the foreground: six nodes, three"
        " datacenters, 4+2.",
        modules=("gateway.up_cli",),
        section=RUN,
    ),
    Offered(
        name="gateway",
        help="Run one gateway of a cluster.",
        modules=("gateway.run_cli",),
        section=RUN,
    ),
    Offered(
        name="config",
        help="Look at a configuration.",
        modules=("gateway.run_cli",),
        section=RUN,
    ),
    Offered(
        name="rebuild",
        help="Make the index again from the nodes and the root key. The gateway must be stopped.",
        modules=("gateway.run_cli",),
        section=RUN,
    ),
    Offered(
        name="status",
        help="Nodes, tier, margins, repair and jobs, as the gateway sees them.",
        modules=("gateway.cli.status_cli",),
        section=LOOK,
    ),
    Offered(
        name="durability",
        help="What the model says of this layout and of production's, with its assumptions.",
        modules=("gateway.cli.status_cli",),
        section=LOOK,
    ),
    Offered(
        name="jobs",
        help="Background jobs: list, run, pause, resume.",
        modules=("gateway.cli.status_cli",),
        section=LOOK,
    ),
    Offered(
        name="where",
        help="On which nodes, in which datacenters and countries an object is.",
        modules=("gateway.cli.where_cli",),
        section=LOOK,
    ),
    Offered(
        name="erase",
        help="Erase an object, a bucket or a tenant for good: notice, approvals, certificate.",
        modules=("gateway.cli.erasure_cli",),
        section=KEYS,
    ),
    Offered(
        name="purge",
        help="Take away what lies under destroyed keys of a bucket: nobody can read it, it fills"
        " space, and listings fail on it.",
        modules=("gateway.cli.erasure_cli",),
        section=KEYS,
    ),
    Offered(
        name="approver",
        help="People who approve: keygen, list, set.",
        modules=("gateway.cli.approvals_cli",),
        section=KEYS,
    ),
    Offered(
        name="approvals",
        help="What they approve: list, show, sign, submit.",
        modules=("gateway.cli.approvals_cli",),
        section=KEYS,
    ),
    Offered(
        name="produce",
        help="What an order addressed to an operator, a site or the provider could obtain.",
        modules=("gateway.cli.produce_cli",),
        section=PROOF,
    ),
    Offered(
        name="keys",
        help="Keys: root, tenants', buckets', named ones.",
        modules=("gateway.cli.keys_app",),
        section=KEYS,
    ),
    Offered(
        name="keyd",
        help="The key service: the only process that has keys of tenants.",
        modules=("gateway.keyd.cli", "gateway.keyd.token_cli"),
        section=KEYS,
    ),
    Offered(
        name="ca",
        help="The internal CA: who is who in the cluster.",
        modules=("gateway.ca_cli", "gateway.enrol_cli", "gateway.renewal_cli"),
        section=KEYS,
    ),
    Offered(
        name="admin",
        help="Administrators: who they are, what they may, who you are.",
        modules=("gateway.cli.admin_cli", "gateway.cli.second_factor_cli"),
        section=KEYS,
    ),
    Offered(
        name="tenant",
        help="Tenants: create, list, show, disable, enable.",
        modules=("gateway.cli.access_cli",),
        section=TENANTS,
    ),
    Offered(
        name="departure",
        help="Tenants that leave: begin, list, extend, cancel.",
        modules=("gateway.cli.departure_cli",),
        section=TENANTS,
    ),
    Offered(
        name="user",
        help="Users of a tenant: create, list, show, disable, enable, delete.",
        modules=("gateway.cli.access_cli",),
        section=TENANTS,
    ),
    Offered(
        name="group",
        help="Groups of users: create, list, add, remove, delete.",
        modules=("gateway.cli.access_cli",),
        section=TENANTS,
    ),
    Offered(
        name="access-key",
        help="Access keys, two for each user: create, rotate, list, disable, delete.",
        modules=("gateway.cli.access_cli", "gateway.cli.access_key_cli"),
        section=TENANTS,
    ),
    Offered(
        name="policy",
        help="Policies of users, groups and roles: put, list, show, attach, detach, delete.",
        modules=("gateway.cli.policy_cli",),
        section=TENANTS,
    ),
    Offered(
        name="role",
        help="Roles for sessions (AssumeRole): put, list, show, delete.",
        modules=("gateway.cli.policy_cli",),
        section=TENANTS,
    ),
    Offered(
        name="identity-provider",
        help="Identity providers (OpenID Connect) whose tokens roles may trust: put, list, delete.",
        modules=("gateway.cli.policy_cli",),
        section=TENANTS,
    ),
    Offered(
        name="who-may",
        help="Who may do what to a bucket or an object: every user, role and root that is let in.",
        modules=("gateway.cli.policy_cli",),
        section=TENANTS,
    ),
    Offered(
        name="quota",
        help="Limits of tenants, buckets, access keys, addresses.",
        modules=("gateway.cli.metering_cli",),
        section=TENANTS,
    ),
    Offered(
        name="journal",
        help="The tamper-evident journal.",
        modules=(
            "gateway.cli.journal_cli",
            "gateway.cli.journal_keys_cli",
            "gateway.cli.forget_cli",
        ),
        section=PROOF,
    ),
    Offered(
        name="export",
        help="Take everything of a tenant out: objects, versions, metadata, rights, journal.",
        modules=("gateway.cli.export_cli",),
        section=TENANTS,
    ),
    Offered(
        name="import",
        help="Bring an export into this cluster: versions with their ids, dates, locks and ETags.",
        modules=("gateway.cli.export_cli",),
        section=TENANTS,
    ),
    Offered(
        name="export-verify",
        help="Read an export once more and say what was changed. Asks no gateway.",
        modules=("gateway.cli.export_cli",),
        section=TENANTS,
    ),
    Offered(
        name="usage",
        help="What buckets hold now; with --from, what they used in a time.",
        modules=("gateway.cli.metering_cli",),
        section=PROOF,
    ),
    Offered(
        name="statement",
        help="A tenant's statement of a month; from files, without a gateway, the same again.",
        modules=("gateway.cli.statement_cli",),
        section=PROOF,
    ),
    Offered(
        name="statement-verify",
        help="Compute a statement again from the journal alone, and compare every byte. Asks no"
        " gateway.",
        modules=("gateway.cli.statement_cli",),
        section=PROOF,
    ),
    Offered(
        name="plan",
        help="How a tenant pays: show, set.",
        modules=("gateway.cli.metering_cli",),
        section=PROOF,
    ),
    Offered(
        name="completion",
        help="Print what makes a shell complete the names of commands and options.",
        modules=("gateway.terminal.completion",),
        section=LOOK,
    ),
)


class _Hexagone(Commands):
    offered = OFFERED


app = typer.Typer(
    cls=_Hexagone,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="Hexagone: an S3-compatible object store that stays where you put it.\n\n"
    "Examples:\n\n"
    "hexagone up\n\n"
    "hexagone status --watch\n\n"
    "hexagone --lang fr keys rotate --help",
)
app.callback()(root_options)


def main() -> None:
    """Entry point of the `hexagone` command."""
    app(prog_name="hexagone")


if __name__ == "__main__":
    main()
