"""One page that holds a whole analysis: `bayesmm.report`.

`sections.py` asks the results for what they show of themselves, `data_words.py` and `code.py` say where they come from,
`page.py` puts that into the templates beside it. jinja2 is imported there, when a page is made.
"""
