"""Router: page set-up and navigation for a browser session; launcher and ASGI application otherwise."""

import streamlit as st
from streamlit.runtime.scriptrunner import get_script_run_ctx

if get_script_run_ctx(suppress_warning=True) is None:
    from ui.threads import no_helpers

    with no_helpers():  # when torch is loaded
        from ui import server

    app = st.App(
        __file__,
        routes=server.ROUTES,
        lifespan=server.lifespan,
        middleware=server.MIDDLEWARE,
        exception_handlers=server.HANDLERS,
    )
else:
    from ui.owner import account
    from ui.theme import apply_look

    apply_look()
    page = st.navigation(
        [
            st.Page("pages/start/home.py", title="Home", icon=":material/home:", default=True),
            st.Page("pages/train/train.py", title="Train", icon=":material/model_training:", url_path="train"),
            st.Page("pages/train/sweep.py", title="Sweep", icon=":material/grid_view:", url_path="sweep"),
            st.Page("pages/runs/runs.py", title="Runs", icon=":material/table_rows:", url_path="runs"),
            st.Page("pages/explore/plane.py", title="Explore", icon=":material/explore:", url_path="explore"),
        ],
        position="top",
    )
    account()
    page.run()
