"""Pages by id: the thousandth page costs what the first does, and new rows never shift a page."""

from rest_framework.pagination import CursorPagination


class ById(CursorPagination):
    ordering = "id"
    page_size_query_param = "page_size"
    max_page_size = 1000
