"""Lists inside a page's sentence."""

from django import template

from hone.lists import listed

register = template.Library()
register.filter("listed", listed)
