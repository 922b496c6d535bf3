"""Where the views are."""

from django.urls import path

from shop import views

urlpatterns = [
    path("orders/<str:order_id>/ship", views.Ship.as_view()),
    path("orders/<str:order_id>/cancel", views.cancel),
    path("health", views.health),
    path("", views.api.urls),
]
