"""What tells whoever had an item that they had it, when their lease left no trace."""

from django.utils.crypto import constant_time_compare, salted_hmac

from hone.accounts.models import User
from labeling.models import Slot


def of(slot: Slot, *, user: User) -> str:
    """By which the page keeps texts in the browser: the same for all places of an item, and telling nothing of it.

    A hidden check's is another one, so that it neither betrays the check nor finds what was kept of the first time.
    """
    return salted_hmac("labeling.work", f"{user.pk}:{slot.item_id}:{slot.hidden}").hexdigest()[:16]


def is_of(key: object, slot: Slot, *, user: User) -> bool:
    """Whether it came with the item when that was handed to this person: nobody else can know it."""
    return isinstance(key, str) and constant_time_compare(key, of(slot, user=user))
