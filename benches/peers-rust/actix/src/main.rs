//! The compared programs, written with actix-web: `bench-actix ADDRESS DATABASE`. Queries run on the runtime's own threads, which is the fastest form.

use actix_web::middleware::{Compress, Condition};
use actix_web::web::{Data, Html, Json};
use actix_web::{App, HttpRequest, HttpServer, Responder, web};
use work::{HELLO, MESSAGE, Order};

async fn order(order: Json<Order>) -> impl Responder {
    Json(order.into_inner().bill())
}

async fn queries(request: HttpRequest) -> impl Responder {
    Json(work::worlds(work::count_in(request.query_string())))
}

#[actix_web::main]
async fn main() -> std::io::Result<()> {
    let address = std::env::args().nth(1).unwrap_or("127.0.0.1:8000".into());
    let page = Data::new(work::page());
    let server = HttpServer::new(move || {
        let compress = Condition::new(true, Compress::default());
        App::new()
            .app_data(page.clone())
            .route("/plaintext", web::get().to(async || HELLO))
            .route("/json", web::get().to(async || Json(MESSAGE)))
            .route("/order", web::post().to(order))
            .route("/query", web::get().to(async || Json(work::world())))
            .route("/queries", web::get().to(queries))
            .service(web::resource("/page").wrap(compress).to(async |page: Data<String>| Html::new(page.to_string())))
    });
    server.bind(address)?.run().await
}
