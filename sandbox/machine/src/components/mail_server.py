"""The sandbox's mail server: aiosmtpd with a Maildir, and a recipient for which it takes its time.

A mail to slow-5000@shop.example, or to slow-5000.ANYTHING@shop.example, is answered after 5000 ms, as a server does
that looks long at a mail. Run with the arguments of aiosmtpd.
"""

import asyncio
import re

from aiosmtpd.handlers import Mailbox
from aiosmtpd.main import main

SLOW = re.compile(r"slow-(\d{1,5})[.@]")


def delay(recipient):
    """The seconds that a mail to this recipient takes."""
    slow = SLOW.match(recipient)
    return int(slow.group(1)) / 1000 if slow else 0


class PatientMailbox(Mailbox):
    async def handle_DATA(self, server, session, envelope):
        await asyncio.sleep(max(map(delay, envelope.rcpt_tos), default=0))
        return await super().handle_DATA(server, session, envelope)


main()
