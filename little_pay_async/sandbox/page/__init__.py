"""The page of a sandbox: what came in, and the handsets of those who are to pay.

`routes` is what a browser can ask for, `views` what it is shown, `markup` writes HTML in which
nothing that was sent can become markup, `by_hand` sends the requests of the page's form, and
`guard` turns away what other web pages ask for. `page.css` and `page.js` are all there is besides;
without JavaScript every form works too.
"""
