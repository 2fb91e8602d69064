"""The state of the Explore page: one `Address` in the session, mirrored in the browser's address bar."""

from ui.address import Address
from ui.mirror import Mirror, controlled

__all__ = ["arrive", "asked", "change", "controlled", "current", "mirror", "notices", "put"]

_explore: Mirror[Address] = Mirror("explore")
current, change, put = _explore.current, _explore.change, _explore.put
asked, arrive, mirror, notices = _explore.asked, _explore.arrive, _explore.mirror, _explore.notices
